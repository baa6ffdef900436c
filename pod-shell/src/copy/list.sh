LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
${place:-plain} "$1" "$2"; path=$v from=$v
[ -e "$path" ] || [ -L "$path" ] || ls -d -- "$path" >/dev/null || exit 8
if [ "$2" = f ] && [ -L "$path" ] && [ ! -d "$path" ]; then
path=$(readlink -f -- "$path" && echo .) || exit 8
path=${path%??}
fi
if [ -d "$path" ] && { [ "$2" = f ] || [ ! -L "$path" ]; }; then
cd -- "$path" || exit 8
path=.
fi
command -v find >/dev/null && command -v stat >/dev/null || { printf 'E notools\n'; exit 9; }
printf 'T\n'
case $path in /*|.) ;; *) path=./$path ;; esac
set --
if [ "$path" = . ] && { [ "$from" = "$within/" ] || [ "$(pwd -P)" = / ]; }; then
set -- '(' -path './proc/*' -o -path './sys/*' -o -path './dev/*' ')' -prune -o
fi
find "$path" "$@" -exec sh -c 'for f do
stat -c "%f %s %Y %u %g %h %d:%i %y" "$f" && printf "%s\0" "$f" || exit 1
[ ! -L "$f" ] || readlink "$f"
printf "\0"
done' sh {} +
