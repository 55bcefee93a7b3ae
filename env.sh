# SPDX-License-Identifier: Apache-2.0
# Put neuro_ros and ROS 2 on the path of this shell:  . ./env.sh  (bash, zsh, or any POSIX shell in this folder).
# ROS_DISTRO chooses among what `make setup` has prepared; without it: jazzy, or the distribution that is sourced.
# Doing it again is harmless, also with another ROS_DISTRO.

if [ -n "${BASH_VERSION:-}" ]; then
  _nr_root=$(cd "$(dirname "$BASH_SOURCE")" && pwd -P)
elif [ -n "${ZSH_VERSION:-}" ]; then
  eval '_nr_root=$(cd "$(dirname "${(%):-%x}")" && pwd -P)'
else
  _nr_root=$(pwd -P)
fi
_nr_distro=${ROS_DISTRO:-jazzy}
_nr_work=$_nr_root/.work/$_nr_distro
_nr_venv=$_nr_work/venv

_nr_prepend() { # _nr_prepend VARIABLE FOLDERS: put FOLDERS first, in place of whatever we put there earlier
  eval "_nr_rest=\${$1:-}"
  _nr_rest=$(printf '%s\n' "$_nr_rest" | tr ':' '\n' | { grep -vF "$_nr_root/.work/" || :; } | paste -sd : -)
  eval "export $1=\"\$2\${_nr_rest:+:\$_nr_rest}\""
}

_nr_find() { # _nr_find FOLDER NAME: the folders called NAME not far below FOLDER, joined by colons
  find "$1" -maxdepth 5 -type d -name "$2" -print 2>/dev/null | sort | paste -sd : -
}

if [ ! -f "$_nr_root/scripts/setup" ]; then
  echo "env.sh: $_nr_root is not the folder of neuro_ros; change there first" >&2
  false
elif [ ! -e "$_nr_work/install/bin/neuro_ros" ]; then
  echo "env.sh: ROS 2 $_nr_distro is not set up here; run: make setup ROS_DISTRO=$_nr_distro" >&2
  false
else
  _nr_install=$_nr_work/install
  _nr_libraries=
  _nr_prefix=
  if [ -d "$_nr_venv/share/rclpy" ]; then # ROS 2 as wheels; otherwise the sourced install has set all this
    _nr_prefix=:$_nr_venv
    _nr_libraries=:$_nr_venv/lib:$(_nr_find "$_nr_venv/lib" 'ros_*.libs')
    export ROS_DISTRO="$_nr_distro" ROS_VERSION=2 ROS_PYTHON_VERSION=3
    # The wheels restart every Python once to set LD_LIBRARY_PATH, unless they are told that it is done.
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  fi
  _nr_prepend PATH "$_nr_install/bin:$_nr_venv/bin"
  _nr_prepend PYTHONPATH "$(_nr_find "$_nr_install" '*-packages')"
  _nr_prepend AMENT_PREFIX_PATH "$_nr_install$_nr_prefix"
  _nr_prepend CMAKE_PREFIX_PATH "$_nr_install$_nr_prefix"
  _nr_prepend LD_LIBRARY_PATH "$_nr_install/lib$_nr_libraries"
  # Nodes talk on this machine only, unless the user has said otherwise.
  export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
  unset -v _nr_install _nr_libraries _nr_prefix _nr_rest
  unset -v _nr_root _nr_distro _nr_work _nr_venv && unset -f _nr_prepend _nr_find
fi
