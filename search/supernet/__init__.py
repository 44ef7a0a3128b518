"""The ways to train shared weights: name -> "module:function" of a search.supernet.methods.Training."""

METHODS = {
    "progressive": "search.supernet.methods:elastic",
    "sandwich": "search.supernet.methods:elastic",
    "single_path": "search.supernet.methods:elastic",
    "enas": "search.supernet.methods:enas",
    "darts": "search.supernet.methods:darts",
    "proxyless": "search.supernet.methods:proxyless",
}
