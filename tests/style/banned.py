"""Check of the prose for constructions that a newcomer stumbles over; ``make lint`` runs it.

Usage: ``python tests/style/banned.py [FILE …]``, by default over the sources, rules, configuration, documentation and the
names of tests. Prints ``file:line: text: advice`` per finding and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PROSE = (
    *(
        "src/**/*.py",
        "workflow/**/*.smk",
        "workflow/**/*.py",
        "Snakefile",
        "docs/**/*.md",
        "README.md",
        "CONTRIBUTING.md",
    ),
    *("configs/**/*.yaml", "params.yaml", "dvc.yaml", "profiles/**/*.yaml"),
)
"""Files whose whole text is checked; of ``tests/**/*.py`` only the names of tests are."""
WIDTH = 125
"""Columns of a line of documentation; tables, code and lines with a link may be wider."""

_UNIT = "(?:layer|example|query|setting|job|method|member|model|batch|step|row|class|parameter|subset|seed)"
_NOUN = (
    r"(?!(?:of|for|in|on|to|with|from|by|as|that|is|at|than|and|or|per|into|over|was|are|has|have|which|where|if|when|not"
    r"|such|[a-z]+ing|[a-z]+ed)\b)[a-z-]+"
)

_GAP = r"(?:[^\S\n]|\n(?!\s*\n))+"
"""White space within a paragraph: a heading and the sentence under it are not one phrase."""
_COMPARATIVE = (
    "(?:larger|smaller|better|worse|higher|lower|greater|fewer|longer|shorter|faster|slower|older|newer|easier|bigger"
    "|wider|earlier|later|further|closer|cheaper|stronger|weaker|nearer)"
)


class Rule(NamedTuple):
    """A construction and what to write instead. A space in the pattern also matches a line break inside a comment."""

    pattern: str
    advice: str


RULES = (
    Rule(r"\bbeside\b", "next to, in addition to, or compared with"),
    Rule(rf"\b(?:once|twice) an? {_UNIT}\b", "per, or for each: 'once per member'"),
    # \s: a number that ends a line of code, and the comment behind it, are not one phrase
    Rule(
        rf"\b(?:one|two|three|\d[\d,.]*){_GAP}(?:{_NOUN}{_GAP})?{_NOUN}{_GAP}an?{_GAP}{_UNIT}\b",
        "per: 'one integer per example'",
    ),
    Rule(rf"(?<!such\s)\ban?{_GAP}(?!such\b){_NOUN}{_GAP}an?{_GAP}{_UNIT}\b", "per: 'one block per layer'"),
    Rule(
        r"\b(?:gradients?|derivatives?|hessian|differentiat\w+) (?:[\w'-]+ ){0,4}by (?:its|the|their) "
        r"(?:parameters?|inputs?|outputs?|logits|weights?)\b",
        "with respect to",
    ),
    Rule(r"\b(?:mend|mends|mended|mending)\b", "fix, or handle"),
    Rule(r"\b(?:foretells?|foretold|foretelling)\b", "predict"),
    Rule(r"\b(?:takes?|took|taking) in (?:the|a|an|jobs|what)\b", "accept, include, or adopt"),
    Rule(r"\b(?:lets?|letting) go\b", "release"),
    Rule(r"\b(?:comes?|came|coming) to (?:nothing|the same|be|that|this|what)\b", "amount to, or become"),
    Rule(r"\bwhat (?:it|they|this|that) (?:comes?|came) to\b", "the result, or the amount"),
    Rule(
        r"\b(?:lies?|lay|lying) (?:there|ready|elsewhere|next to|where|below it\b|(?:in|below|under|outside) "
        r"(?:results|configs|src|docs|the checkout|a folder|its folder|the folder))",
        "is, is stored, or is located",
    ),
    Rule(
        rf"(?<!there\s)\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|{_COMPARATIVE}\b|such\b|one\b|matter\b)[a-z]\w*",
        "is not a, are not, or has no",
    ),
    Rule(r"\b(?:is|are) not one\b(?! of)", "name the thing: 'its manifest is malformed'"),
    Rule(r"\bwhat there (?:is|are|was)\b", "name the things"),
    Rule(
        r"\bone (?:trusts?|stands|wants|knows|sees|asks|looks|wishes|thinks|would|might)\b",
        "you, or the passive",
    ),
    Rule(
        r"\b(?:can|may|should|must|does) one (?:trust|use|see|say|know|ask|read|write|find|get|tell|do)\b",
        "you",
    ),
    Rule(r"\b(?:first|over|of|after) so many\b", "this many, or name the number"),
    Rule(
        r"\bwhat [\w.`'{}]+ says? of\b|\b(?:says?|said|tells?) nothing of\b",
        "describe, or does not depend on",
    ),
    Rule(r"\b(?:is|are|was|were) promised\b", "say what is configured and what was found"),
    Rule(
        r"\breported figures?\b|\bfigures? (?:of no dimension|for the manifest|that (?:is|are) reported)\b"
        r"|\bmean of each figure\b|\bheadline figures?\b|\bfigures? in the (?:table|leaderboard)\b",
        "value or number; a figure is a picture",
    ),
    Rule(
        r"\b(?:each|every|any|latest|saved|this|that) moments?\b(?! of)",
        "point, time or checkpoint; optimisers have moments",
    ),
)

_HEADLESS = re.compile(r"(?:What|How|Which|From|When|Where|Whether|Why|Who)\b")
_ARGUMENT = re.compile(
    r"^\s+\*{0,2}\w+(?: \([^)]*\))?: (?:of|by|which|how many|how much|what|that|where|who)\b"
)
_SECTION = re.compile(r"^\s*(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$")


class Finding(NamedTuple):
    """One banned construction."""

    line: int
    text: str
    advice: str


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", r"(?:[ \t]+|[ \t]*\n[ \t#>]*)"), re.IGNORECASE)


_COMPILED = [(_compiled(rule.pattern), rule.advice) for rule in RULES]


def find_constructions(text: str) -> Iterator[Finding]:
    """Yield the findings of :data:`RULES` in a text."""
    for pattern, advice in _COMPILED:
        for match in pattern.finditer(text):
            yield Finding(text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), advice)


def find_in_docstrings(source: str) -> Iterator[Finding]:
    """Yield module docstrings without a subject, and descriptions of arguments that continue the argument's name."""
    tree = ast.parse(source)
    opening = ast.get_docstring(tree)
    if opening and _HEADLESS.match(opening):
        yield Finding(
            1, opening.splitlines()[0], "begin a module docstring with a noun phrase or an imperative"
        )
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if not ast.get_docstring(node, clean=False):
            continue
        expression = node.body[0]
        assert isinstance(expression, ast.Expr) and isinstance(expression.value, ast.Constant)
        section = ""
        for offset, line in enumerate(str(expression.value.value).splitlines()):
            heading = _SECTION.match(line)
            section = heading[1] if heading else section
            if section in ("Args", "Attributes") and _ARGUMENT.match(line):
                advice = "describe the argument by a noun phrase with shape and unit"
                yield Finding(expression.lineno + offset, line.strip(), advice)


def find_in_test_names(source: str) -> Iterator[Finding]:
    """Yield the findings in the names of test functions, read as sentences."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for finding in find_constructions(node.name.removeprefix("test_").replace("_", " ")):
                yield Finding(node.lineno, f"{node.name} ({finding.text})", finding.advice)


def find_wide_lines(text: str) -> Iterator[Finding]:
    """Yield the lines of a Markdown document that are too wide to read in a terminal."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        is_exempt = in_code or line.lstrip().startswith(("|", "<")) or "](http" in line or "://" in line
        if len(line) > WIDTH and not is_exempt:
            yield Finding(number, f"{line[:40]}… ({len(line)} columns)", f"wrap at {WIDTH} columns")


def check(path: Path) -> list[Finding]:
    """Return all findings in one file, in the order of lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py" and path.is_relative_to(ROOT / "tests"):
        return sorted(find_in_test_names(text))
    found = list(find_constructions(text))
    if path.suffix == ".py":
        found += find_in_docstrings(text)
    if path.suffix == ".md":
        found += find_wide_lines(text)
    return sorted(found)


def files(arguments: Iterable[str]) -> list[Path]:
    """Return the files to check: those that are named, or all that the check applies to."""
    named = [Path(argument).resolve() for argument in arguments]
    patterns = (*PROSE, "tests/**/*.py")
    return named or sorted({path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()})


def main(arguments: list[str]) -> int:
    """Print all findings and return the exit code."""
    count = 0
    for path in files(arguments):
        for finding in check(path):
            count += 1
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f"{name}:{finding.line}: {finding.text}: {finding.advice}")
    if count:
        print(f"{count} findings; docs and messages are written in plain technical English", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
