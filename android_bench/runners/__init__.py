"""Plugin table: which runner measures on targets of a kind."""

RUNNERS = {
    "host": "android_bench.runners.host:HostRunner",
}
