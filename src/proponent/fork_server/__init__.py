"""A process that imports torch once per run, and forks itself for each job on this machine.

Importing torch takes two seconds of CPU time, which is longer than the work of most jobs of a small benchmark. Imports no
torch itself, but for the server.
"""
