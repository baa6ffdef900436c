LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
${place:-plain} "$1" "$2"; path=$v
if [ "$2" = f ] && [ -L "$path" ] && [ ! -d "$path" ]; then
path=$(readlink -f -- "$path" && echo .) || exit 8
path=${path%??}
fi
shift 2
[ ! -d "$path" ] || cd -- "$path" || exit 8
while [ $# -gt 0 ]; do
plain "$1"
[ "$v" != . ] || v=$path
head -c "$2" <"$v" || exit 8
shift 2
done
