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
       python -m pipeline.main pull --store=URL --out=DIR [--release=CHANNEL_OR_ID] [--target=NAME]
                                    [--max_latency_us=N] [--min_accuracy=X] [--max_size_bytes=N]
                                    [--prefer=accuracy|latency|size] [--model=FILE_OR_RECIPE] [--public_key=FILE]
       python -m pipeline.main verify DIR [--public_key=FILE]
       python -m pipeline.main list --store=URL
       python -m pipeline.main show CHANNEL_OR_ID --store=URL
       python -m pipeline.main diff CHANNEL_OR_ID CHANNEL_OR_ID --store=URL
       python -m pipeline.main release publish --workdir=DIR --store=URL [--channel=latest] [--sign_key=FILE]
                                               [--allow_regression]
       python -m pipeline.main release promote --store=URL --release=CHANNEL_OR_ID --channel=NAME [--sign_key=FILE]
       python -m pipeline.main release rebuild --store=URL
       python -m pipeline.main release keygen --out=FILE

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
  pull      the best model of a release for a device, with all that an app needs of it, checked, in --out
  verify    a pulled folder, or WORKDIR/release: every checksum, and the models on their golden images, here
  list      the releases of a store, newest first, and the channels that point to them
  show      one release: its models, their figures with conditions, its files
  diff      what differs between two releases: models, figures, configuration, test images
  release   publish puts WORKDIR/release into a store and lets a channel point to it; promote lets another channel point
            to a release; rebuild makes the store's index again and removes what killed publishers left; keygen makes
            a pair of keys to sign with

  --config         a Python file like those in configs/; each key can be overridden: --config.search.max_trials=20
  --workdir        the folder that holds everything the run makes; the same command again resumes there
  --dry_run        show the stages, their keys and what is done, and stop
  --json           of status, list, show and diff, or with --dry_run: the same as JSON (docs/scheduling.md)
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

Of releases (docs/releases.md):
  --store          a folder, or the URL of one: http(s)://, s3://, gs://, sftp://, ...
  --release        a channel or an ID; by default the channel stable if there is one, else latest
  --target         where --max_latency_us holds; models that were not measured there are not taken
  --min_accuracy, --max_size_bytes
                   further limits: a fraction on the release's test images, and the size of the .tflite file
  --prefer         of the models that fit: the best in accuracy (the default), latency or size
  --model          only this model, by its file or recipe
  --public_key     refuse what is not signed with its private key (--sign_key)
  --channel        the channel to set, by default latest
  --allow_regression
                   publish although the gates found a regression

exit codes: 0 done, 1 failed, 2 bad usage or input"""
