"""The table of reference networks.

name -> "module:function" of (resolution, num_classes, width_multiplier) that returns an ArchSpec.
"""

from __future__ import annotations

NETWORKS = {
    "alexnet": "search.networks.classic:alexnet",
    "vgg16": "search.networks.classic:vgg16",
    "squeezenet_1_1": "search.networks.classic:squeezenet_1_1",
    "resnet8": "search.networks.classic:resnet8",
    "resnet18": "search.networks.classic:resnet18",
    "resnet50": "search.networks.classic:resnet50",
    "mobilenet_v1": "search.networks.mobilenet:mobilenet_v1",
    "mobilenet_v2": "search.networks.mobilenet_v2:mobilenet_v2",
    "mobilenet_v2_small": "search.networks.mobilenet_v2:mobilenet_v2_small",
    "mobilenet_v3_large": "search.networks.mobilenet:mobilenet_v3_large",
    "mobilenet_v3_small": "search.networks.mobilenet:mobilenet_v3_small",
    "mobilenet_v3_large_minimalistic": "search.networks.mobilenet:mobilenet_v3_large_minimalistic",
    "mobilenet_v3_small_minimalistic": "search.networks.mobilenet:mobilenet_v3_small_minimalistic",
    "mobilenet_v4_conv_small": "search.networks.mobilenet:mobilenet_v4_conv_small",
    "mobilenet_v4_conv_medium": "search.networks.mobilenet:mobilenet_v4_conv_medium",
    "shufflenet_v1_g3": "search.networks.shufflenet:shufflenet_v1_g3",
    "shufflenet_v2": "search.networks.shufflenet:shufflenet_v2",
    "mnasnet_a1": "search.networks.searched:mnasnet_a1",
    "proxyless_mobile": "search.networks.searched:proxyless_mobile",
    "efficientnet_b0": "search.networks.efficientnet:efficientnet_b0",
    "efficientnet_b1": "search.networks.efficientnet:efficientnet_b1",
    "efficientnet_b2": "search.networks.efficientnet:efficientnet_b2",
    "efficientnet_b3": "search.networks.efficientnet:efficientnet_b3",
    "efficientnet_b4": "search.networks.efficientnet:efficientnet_b4",
    "efficientnet_b5": "search.networks.efficientnet:efficientnet_b5",
    "efficientnet_b6": "search.networks.efficientnet:efficientnet_b6",
    "efficientnet_b7": "search.networks.efficientnet:efficientnet_b7",
    "efficientnet_lite0": "search.networks.efficientnet:efficientnet_lite0",
    "efficientnet_lite1": "search.networks.efficientnet:efficientnet_lite1",
    "efficientnet_lite2": "search.networks.efficientnet:efficientnet_lite2",
    "efficientnet_lite3": "search.networks.efficientnet:efficientnet_lite3",
    "efficientnet_lite4": "search.networks.efficientnet:efficientnet_lite4",
}
