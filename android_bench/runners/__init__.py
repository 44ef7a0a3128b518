"""Plugin table: which function makes the runner that measures on targets of a kind (see android_bench.session)."""

RUNNERS = {
    "host": "android_bench.runners.host:make",
    "android": "android_bench.runners.android:make",
    "ssh": "android_bench.runners.ssh:make",
}
