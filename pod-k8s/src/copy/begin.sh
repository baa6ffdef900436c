LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
fail() { printf 'E %s\n' "$1"; exit 9; }
plain "$1"; dest=$v
plain "$2"; up=$v
token=$3 kind=$4 owner=$5 verify=$6 how=$7
if [ -d "$dest" ]; then
there=d
if [ "$kind" = f ] && [ -L "$dest" ]; then there=f; fi
elif [ -e "$dest" ] || [ -L "$dest" ]; then there=f
else there=n
fi
case $kind$there in
df|fd) fail "conflict $there" ;;
dd) s=$dest/.pod-$token ;;
*) [ -d "$up" ] || fail parent; s=$up/.pod-$token ;;
esac
[ "$how" != tar ] || command -v tar >/dev/null || fail notar
case $verify in h) command -v sha256sum >/dev/null || fail nohash ;; esac
umask 077
mkdir -- "$s" || exit 8
