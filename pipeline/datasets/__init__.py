"""The data sets by name. A new one is a file with a `pipeline.datasets.source.Source` and a line in a table."""

BUILT_IN = {
    "cifar10": "pipeline.datasets.cifar10:Cifar10",
    "fashion_mnist": "pipeline.datasets.fashion_mnist:FashionMnist",
    "mnist_5k": "pipeline.datasets.mnist_5k:Mnist5k",
}

FROM_PATH = {
    "directory": "pipeline.datasets.directory:Directory",
    "npz": "pipeline.datasets.npz:Npz",
}
