"""The table of search spaces: name -> "module:function" of (resolution, num_classes) -> SearchSpace.

`resolution` may be a OneOf: then it is searched too, as Once-for-All does.
"""

SPACES = {
    "fbnet": "search.spaces.fbnet:fbnet",
    "mixed_small": "search.spaces.mixed:mixed_small",
    "mnasnet": "search.spaces.mnasnet:mnasnet",
    "mobilenet_v2": "search.spaces.mobilenet_v2:mobilenet_v2",
    "mobilenet_v2_small": "search.spaces.mobilenet_v2:mobilenet_v2_small",
    "mobilenet_v2_small_se": "search.spaces.mobilenet_v2:mobilenet_v2_small_se",
    "mobilenet_v2_small_xnnpack": "search.spaces.mobilenet_v2:mobilenet_v2_small_xnnpack",
    "mobilenet_v3": "search.spaces.mobilenet_v3:mobilenet_v3",
    "nasbench201": "search.spaces.nasbench:nasbench201",
    "nasbench_macro": "search.spaces.nasbench:nasbench_macro",
    "ofa_mbv3": "search.spaces.mobilenet_v3:ofa_mbv3",
    "ofa_small": "search.spaces.mobilenet_v2:ofa_small",
    "proxyless": "search.spaces.proxyless:proxyless",
    "proxyless_small": "search.spaces.proxyless:proxyless_small",
    "shufflenet_v2": "search.spaces.shufflenet:shufflenet_v2",
}
