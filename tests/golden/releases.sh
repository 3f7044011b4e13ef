#!/bin/sh
# Records the goldens in every release of the libraries:  releases.sh OUT ENVIRONMENTS [options of generate.py]
#
# Each release gets an environment of its own below ENVIRONMENTS (made with uv where missing; Python 3.11). The
# newest release of each library records every case; `--few` and `--core` keep a set small enough to commit:
#   releases.sh tests/forest/fixtures /tmp/environments --few --core
set -eu
out=$1 environments=$2
shift 2
here=$(dirname "$0")
old="numpy<1.24 scipy<1.11 pandas<2 scikit-learn<1.2 setuptools<70"

record() { # library release requirements
    library=$1 release=$2 python=$environments/$1-$2/bin/python
    shift 2
    if [ ! -x "$python" ]; then
        uv venv -q --python 3.11 "$environments/$library-$release"
        # The newest XGBoost asks for a newer Python than it needs: its own wheel is installed without asking.
        uv pip install -q --python "$python" pip $requirements
        "$python" -m pip install -q --no-deps --ignore-requires-python "$package==$release"
    fi
    "$python" "$here/generate.py" "$out" --library "$library" "$@"
}

requirements=$old package=xgboost
for release in 1.0.2 1.1.1 1.2.1 1.3.3 1.4.2 1.5.2 1.6.2 1.7.6 2.0.3; do record xgboost $release "$@"; done
requirements="numpy<2 scipy pandas<2.3 scikit-learn<1.7" package=xgboost-cpu
for release in 2.1.4 3.0.5 3.1.2 3.2.0 3.3.0; do record xgboost $release "$@"; done
requirements=$old package=lightgbm
for release in 3.2.1 3.3.5; do record lightgbm $release "$@"; done
requirements="numpy<2 scipy pandas<2.3 scikit-learn<1.5"
for release in 4.0.0 4.5.0; do record lightgbm $release "$@"; done

# The newest of each, in full.
all=$(echo "$*" | sed 's/--core//')
requirements="numpy<2 scipy pandas<2.3 scikit-learn<1.7 pyarrow" package=xgboost-cpu
record xgboost 3.4.1 $all
package=lightgbm
record lightgbm 4.7.0 $all
requirements="$requirements graphviz plotly matplotlib" package=catboost
record catboost 1.2.10 $all
