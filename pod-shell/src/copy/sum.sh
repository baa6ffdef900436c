LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
${place:-plain} "$1" "$2"; path=$v
if [ "$2" = f ] && [ -L "$path" ] && [ ! -d "$path" ]; then
path=$(readlink -f -- "$path" && echo .) || exit 8
path=${path%??}
fi
shift 2
command -v sha256sum >/dev/null || { printf 'E nohash\n'; exit 9; }
[ ! -d "$path" ] || cd -- "$path" || exit 8
for f do
plain "$f"
[ "$v" != . ] || v=$path
sha256sum <"$v" || exit 8
done
