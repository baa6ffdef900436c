LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
plain "$1"; path=$v
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
find "$path" -exec sh -c 'for f do
stat -c "%f %s %Y %u %g %h %d:%i" "$f" && printf "%s\0" "$f" || exit 1
[ ! -L "$f" ] || readlink "$f"
printf "\0"
done' sh {} +
