"""What it means for the people of a pool that a file of it is damaged."""

from clip_assets import layout
from clip_assets.index.drift import segment_far
from clip_assets.index.own_lists import segment_centres
from clip_assets.metadata.aesthetic import aesthetic_scores
from clip_assets.pool.published import Damage
from clip_assets.publishing.vector_places import hub_places
from clip_assets.publishing.version_file import hub_version
from clip_assets.reshard.kept_shards import subset_tar, subset_tar_stats
from clip_assets.subsets.subset_files import subset_groups

NOTHING_MADE = "nothing is made from it"

CONSEQUENCES = {
    layout.raw: "deduplication of the partition stops; its source rows are the only other copy",
    layout.rejects: f"which source rows were refused cannot be told; {NOTHING_MADE}",
    layout.pair_keys: "no later partition can be compared with this one, so none is deduplicated",
    layout.unique: "the partition cannot be downloaded, nor its metadata joined",
    layout.shard_tar: "its images are lost to training, to resharding and to embedding",
    layout.shard_rows: "what became of its urls is lost; no retry and no metadata of the partition",
    layout.shard_stats: "img2dataset's counts of the shard; a rerun would fetch the shard again",
    layout.tar_index: "who first asks for an image of the shard waits until its tar is indexed",
    layout.img_emb: "no segment or recipe is made from the partition's images; served ones stay",
    layout.text_emb: "no segment or recipe is made from the partition's texts; served ones stay",
    layout.embedding_rows: "a new index version cannot say what the partition's vectors are",
    layout.embedding_inputs: "the partition is embedded whole when a tar of it changes",
    aesthetic_scores: "the partition's metadata cannot be made anew with its scores",
    layout.pool_rows: "subsets and statistics cannot be made anew",
    layout.subset: "who trains on the subset does not get it",
    layout.subset_version: "who asks for this earlier version of the subset does not get it",
    subset_groups: "which images were alike cannot be told; the subset stays",
    subset_tar: "who trains on the subset's shards lacks its samples",
    subset_tar_stats: "a trainer that counts samples by it passes over the shard",
    layout.partition_stats: f"counted again by the next statistics; else {NOTHING_MADE}",
    layout.stats_report: f"the page of statistics; {NOTHING_MADE}",
    layout.stats: f"the statistics for programs; {NOTHING_MADE}",
    layout.recipe: "no partition can be encoded; the served index stays",
    layout.recipe_choice: "no partition can be encoded; the served index stays",
    layout.recipe_queries: "no partition can be encoded; the served index stays",
    layout.segment_lists: "a subset by semdedup with clusters: index cannot be made anew",
    layout.segment_neighbours: "no new index version can be merged; the served one stays",
    segment_centres: "no new index version can be merged; the served one stays",
    segment_far: "no new index version can be merged; the served one stays",
    layout.segment: "no new index version can be merged; the served one stays",
    layout.index: "a search in this version fails or finds something else",
    layout.index_manifest: "this version cannot be served or gone on with",
    layout.index_neighbours: "the next version is merged from what all partitions have of it",
    layout.index_rows: "hits of this version in its range of ids have no url and caption",
    layout.mapped_rows: "hits of this version in its range of ids have no url and caption",
    layout.mapped_uids: "no uid of its range of ids is found in this version",
    layout.hub_card: "who finds the data set on a hub is not told what it is",
    layout.hub_croissant: "programs that find the data set on a hub are not told what it is",
    layout.hub_rows: "it cannot be published as it is; what is on the hub stays",
    layout.hub_index: "it cannot be published as it is; what is on the hub stays",
    hub_places: "it cannot be published as it is; what is on the hub stays",
    hub_version: "it cannot be published as it is; what is on the hub stays",
    layout.hub_mapping: "it cannot be published as it is; what is on the hub stays",
    layout.id_mapping: "who reads vector ids of this version finds no pair for them",
}
"""By the kind of file."""

OTHERS = {
    layout.CURRENT: "nothing is served; clip-assets search fails",
}


def consequence(damage: Damage) -> str:
    """What it means that a file is damaged."""
    if damage.path in OTHERS:
        return OTHERS[damage.path]
    if damage.path.startswith(f"{layout.PICTURES}/"):
        return f"a picture for people; {NOTHING_MADE}"
    if damage.path.startswith(("manifests/", "failures/")):
        return f"it is not known what is done of {damage.asset}"
    if damage.path.startswith(f"{layout.VERSIONS}/") and damage.path.count("/") == 1:
        return "it cannot be gone back to"
    kind = next((kind for kind in CONSEQUENCES if kind.holds(damage.path)), None)
    return CONSEQUENCES[kind] if kind else f"what is made from {damage.asset} cannot be made anew"
