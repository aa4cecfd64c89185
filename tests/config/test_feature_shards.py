"""Which members share a file of features."""

from __future__ import annotations

import pytest

from proponent.config.feature_shards import feature_shard, feature_shards

KINDS = ["gradients", "outputs", "representations"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_job", [1, 2, 3, 10])
@pytest.mark.parametrize("members", [1, 2, 9, 10, 11, 25])
def test_every_member_is_in_the_file_where_it_is_looked_for(kind, per_job, members):
    shards = feature_shards(kind, members, per_job)
    assert [member for shard in shards for member in shard] == list(range(members))
    assert all(member in shards[feature_shard(kind, member, per_job)] for member in range(members))
    for shard in shards:
        assert len({member // per_job for member in shard}) == 1, "members of one job"


@pytest.mark.parametrize("kind", KINDS)
def test_more_members_only_add_files_or_fill_the_last_one(kind):
    fewer, more = (feature_shards(kind, members, 10) for members in (10, 20))
    assert more[: len(fewer)] == fewer


def test_a_method_with_one_member_needs_the_outputs_of_one():
    assert feature_shards("outputs", 10, 10) == [range(1), range(1, 10)]
    assert feature_shards("representations", 1, 10) == [range(1)]
    assert feature_shards("gradients", 10, 10) == [range(10)]
