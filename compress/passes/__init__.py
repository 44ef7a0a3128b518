"""The compression passes: name -> "module:Class" (compress.passes.contract.CompressPass), imported when used."""

PASSES = {
    "prune": "compress.passes.prune:Prune",
    "cluster": "compress.passes.cluster:Cluster",
    "quantize": "compress.passes.quantize:Quantize",
}
