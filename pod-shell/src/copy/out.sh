LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
fail() { printf 'E %s\n' "$1"; exit 9; }
${place:-plain} "$1" "$2"; path=$v
if [ ! -e "$path" ] && [ ! -L "$path" ]; then
ls -d -- "$path" >/dev/null && fail none || exit 8
fi
command -v tar >/dev/null || fail notar
case $(tar --version 2>&1) in
*GNU*) tar=gnu; set -- "$2" --blocking-factor=128 --format=posix --pax-option=delete=atime,delete=ctime --sparse --numeric-owner ;;
*[Bb]usy[Bb]ox*) tar=busybox; set -- "$2" ;;
*) tar=other; set -- "$2" ;;
esac
if [ "$1" = f ] && [ -L "$path" ] && [ ! -d "$path" ]; then
path=$(readlink -f -- "$path" && echo .) || exit 8
path=${path%??}
fi
if [ -d "$path" ] && { [ "$1" = f ] || [ ! -L "$path" ]; }; then
cd -- "$path" || exit 8
root=.
{ [ "$path" != "$within/" ] && [ "$(pwd -P)" != / ]; } || set -- "$@" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*'
else
dir=${path%/*}
cd -- "${dir:-/}" || exit 8
root=./${path##*/}
fi
shift
printf 'T %s\n' "$tar"
printf '%s\0' "$root"
if [ $tar = gnu ] || ! command -v dd >/dev/null; then exec tar -c -f - "$@" -- "$root"; fi
exec 3>&1
ends=$({ { tar -c -f - "$@" -- "$root" 4>&-; echo $? >&4; } 3>&- | dd ibs=65536 obs=65536 2>/dev/null >&3 || echo dd >&4; } 4>&1)
[ "$ends" = 0 ] || exit 8
