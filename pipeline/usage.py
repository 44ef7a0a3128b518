"""What --help prints."""

USAGE = """\
usage: python -m pipeline.main COMMAND --config=FILE --workdir=DIR [--config.KEY=VALUE ...] [--dry_run]
       python -m pipeline.main compress --model=FILE --data=NAME [--workdir=DIR] [--config.KEY=VALUE ...]
       python -m pipeline.main describe ARCH_OR_NAME [--resolution=N] [--num_classes=N] [--width_multiplier=X]
       python -m pipeline.main scale --arch=ARCH_OR_NAME --max_macs=N [--alpha=X --beta=X --gamma=X]
       python -m pipeline.main extract --config=FILE --workdir=DIR --out=DIR (--arch=ARCH | --max_macs=N |
                                       --max_latency_us=N [--target=NAME | --latency_table=FILE])
       python -m pipeline.main devices [--serial=...] [--ssh=...]
       python -m pipeline.main benchmark --models=FILE,FILE --targets=NAME,NAME --out=DIR [--config.bench.KEY=VALUE ...]
       python -m pipeline.main compare --before=DIR --after=DIR [--out=DIR]
       python -m pipeline.main latency_table --space=NAME --target=NAME --out=FILE [--scheme=full_integer]
                                             [--resolution=N] [--num_classes=N]

  run       everything: data, search, teacher, training, compression, conversion, checks, benchmark, report, release
  search    only the architecture search
  compress  up to the compressed Keras models; with --model everything, for a Keras model of yours
  convert   up to the converted and validated .tflite files
  bench     up to the latency measurements
  report    up to WORKDIR/report/index.html
  status    what is done and what is to do in WORKDIR; needs no --config
  describe  a network or search space as a page: blocks, shapes, parameters, MACs, memory; ARCH_OR_NAME is a name
            (mobilenet_v2, space:mobilenet_v2) or a network's text in quotes
  scale     compound scaling of a network to a budget; with --config and --workdir alpha, beta and gamma are first found
            by training (grid search), and without --arch it is the best network of the workdir's search
  extract   one more network out of the finished supernet in --workdir (config.search.evaluator = "supernet"),
            fine-tuned, compressed, converted and measured in --out
  devices   the Android devices that adb sees, the boards of --ssh, and this computer: what they are, and what hinders
  benchmark .tflite files measured on targets, several targets at once; the same command goes on where it stood
  compare   two results of benchmark: which models became faster or slower, with intervals; with --results=DIR the
            names --before and --after are two targets of one result
  latency_table
            the blocks of a search space measured on a target, as a table that config.search.latency_table names

  --config         a Python file like those in configs/; each key can be overridden: --config.search.max_trials=20
  --workdir        the folder that holds everything the run makes; the same command again resumes there
  --dry_run        show the stages, their keys and what is done, and stop
  --model          a .keras (Keras 2 or 3) or .h5 file or a SavedModel's folder, compressed in place of a searched
                   network; --config is then configs/own_model.py, and --workdir out/ and the file's name
  --data           the images to fine-tune and to test it on: mnist_5k, directory:PATH, npz:FILE, ... (config.data.name)
  --input_range    of the images that it was trained on: 0..1 (the default), 0..255 or -1..1
  --allow_custom   load its Lambda layers and custom objects, which runs code that is in the file
  --new_config     let --workdir go on with a configuration other than the one it was begun with
  --resolution, --num_classes, --width_multiplier
                   of the network to describe (or, without the last, to scale, or of a latency table's space); by
                   default as it was published
  --arch           the network to scale, a name or a text; or the text of the network to extract
  --max_macs, --max_latency_us
                   the budget; a latency to scale to, which is measured, needs --config and --workdir
  --target, --latency_table
                   where the extracted network is measured, and the table that predicts latencies; without the table
                   that of the configuration, or with --target one that is measured there first
  --alpha, --beta, --gamma
                   growth of depth, width and resolution; by default EfficientNet's 1.2, 1.1, 1.15
  --grid_step      step of the grid search, by default 0.1

Where the targets are, for every command that measures (docs/benchmarking.md):
  --serial         of the Android device: SERIAL, or TARGET=SERIAL where there are several
  --ssh            of a board: TARGET=[USER@]HOST; your ~/.ssh/config counts
  --benchmark_model
                   the file of TensorFlow's benchmark_model on this computer: FILE, or ABI=FILE; or where to fetch it
                   from: URL#sha256=CHECKSUM
  --apk            the file of the benchmark tool's Android app, if it is not installed
  --remote_python  the Python of a board that has ai-edge-litert: PATH, or TARGET=PATH
  --ssh_config     a configuration file for ssh in place of your own

exit codes: 0 done, 1 failed, 2 bad usage or input"""
