"""The compression passes: name -> "module:Class" (compress.passes.contract.CompressPass), imported when used."""

PASSES = {
    "structured_prune": "compress.passes.structured_prune:StructuredPrune",
    "low_rank": "compress.passes.low_rank:LowRank",
    "share": "compress.passes.share:Share",
    "prune": "compress.passes.prune:Prune",
    "cluster": "compress.passes.cluster:Cluster",
    "quantize": "compress.passes.quantize:Quantize",
}
