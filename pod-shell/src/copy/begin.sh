LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
fail() { printf 'E %s\n' "$1"; exit 9; }
token=$3 kind=$4 owner=$5 verify=$6 how=$7 n=.pod-keep-$8 keep=$9
follow=
[ "$kind" = f ] || follow=f
${place:-plain} "$1" $follow; dest=$v
${place:-plain} "$2" f; up=$v
if [ -d "$dest" ]; then
there=d
if [ "$kind" = f ] && [ -L "$dest" ]; then there=f; fi
elif [ -e "$dest" ] || [ -L "$dest" ]; then there=f
else there=n
fi
case $kind$there in
df|fd) fail "conflict $there" ;;
dd) s=$dest ;;
*) [ -d "$up" ] || fail parent; s=$up ;;
esac
[ "$how" != tar ] || command -v tar >/dev/null || fail notar
case $verify in h) command -v sha256sum >/dev/null || fail nohash ;; esac
umask 077
k=$s/$n
if [ -n "$keep" ]; then
command -v find >/dev/null && command -v stat >/dev/null || fail noresume
s=$k-$token
if mine "$k" && true >"$k/claim" && mv -- "$k" "$s" 2>/dev/null; then :
else
mkdir -- "$s" || exit 8
for o in "$k"-*; do
if [ "$o" != "$s" ] && mine "$o" && idle "$o" && mkdir -- "$o/taken" 2>/dev/null; then
rm -f -- "$o/who"
rmdir -- "$s" && mv -- "$o" "$s" || exit 8
break
fi
done
fi
mine "$s" || fail foreign
else
s=$s/.pod-$token
mkdir -- "$s" || exit 8
fi
