LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
${place:-plain} "$1" f
cd -- "$v" || exit 8
shift
umask 022
while [ $# -gt 0 ]; do
plain "$2"; p=$v
plain "$3"; t=$v
case $1 in
d) mkdir -p -- "$p" || exit 8 ;;
f)
rm -f -- "$p" || exit 8
if command -v head >/dev/null; then head -c "$t" >"$p"; else cat >"$p"; fi || exit 8
[ "$(wc -c <"$p")" -eq "$t" ] || { printf 'E cut\n'; exit 9; }
;;
l) rm -f -- "$p" && ln -s -- "$t" "$p" || exit 8 ;;
h) rm -f -- "$p" && ln -- "$t" "$p" || exit 8 ;;
v) mv -f -- "$p" "$t" || exit 8 ;;
m) chmod "$t" "$p" || exit 8 ;;
o) chown -h "$t" "$p" || exit 8 ;;
t) touch -d "@$t" "$p" || printf 'N times\n' ;;
y)
cd / || exit 8
${place:-plain} "$2" f; p=$v
${place:-plain} "$3" f; t=$v
[ ! -e "$t" ] && mv -- "$p" "$t" || rm -rf -- "$p" || exit 8
;;
x)
cd / || exit 8
${place:-plain} "$2" f; p=$v
rm -rf -- "$p" 2>/dev/null || { sleep 1; rm -rf -- "$p"; } || exit 8
;;
esac
shift 3
done
