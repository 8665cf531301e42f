#!/bin/sh
# Records the traces of this directory again, into the directory that is named.
# Needs valgrind, gcc, sort, x264, node and a python3 with numpy and sqlite3 (apt install valgrind gcc x264 nodejs).
# Used by `make traces`; README.md has what each command is for.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
test $# -gt 0 || { echo "usage: record.sh DIRECTORY [NAME...]" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
shift
wanted=${*:-sqlite-index gcc python-data sort x264 node}
# What a program takes from its surroundings is the same everywhere, and there is one thread.
export LC_ALL=C PYTHONHASHSEED=0 OPENBLAS_NUM_THREADS=1

record() {
    swaptable trace record --window 256 --compression lzma "$@"
}

for name in $wanted; do
    echo "== $name" >&2
    case $name in
    sqlite-index)
        cp "$here/sqlite_index.py" .
        record -o sqlite-index.npz -- python3 -I -S sqlite_index.py ;;
    gcc)
        python3 "$here/gcc_source.py" >gcc_source.c
        record -o gcc.npz -- gcc -O2 -c -o gcc_source.o gcc_source.c ;;
    python-data)
        cp "$here/python_data.py" .
        record -o python-data.npz -- python3 python_data.py ;;
    sort)
        python3 "$here/sort_text.py" >sort_text.txt
        record -o sort.npz -- sort --parallel=1 -S 20M -o sort_text.sorted sort_text.txt ;;
    x264)
        python3 "$here/x264_clip.py" >x264_clip.y4m
        record -o x264.npz -- x264 --quiet --no-progress --threads 1 -o x264_clip.264 x264_clip.y4m ;;
    node)
        cp "$here/node_cache.js" .
        record -o node.npz -- node --jitless --single-threaded node_cache.js ;;
    *)
        echo "record.sh: no recording of the name $name" >&2
        exit 2 ;;
    esac
done
