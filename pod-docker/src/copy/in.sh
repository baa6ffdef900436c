LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
fail() { printf 'E %s\n' "$1"; exit 9; }
plain "$1"; dest=$v
plain "$2"; up=$v
token=$3 kind=$4 verify=$5 user=$6
if [ -d "$dest" ]; then
there=d
if [ "$kind" = f ] && [ -L "$dest" ]; then there=f; fi
elif [ -e "$dest" ] || [ -L "$dest" ]; then there=f
else there=n
fi
case $kind$there in
df|fd) fail "conflict $there" ;;
dd) s=$dest/.pod-$token in=d ;;
*) [ -d "$up" ] || fail parent; s=$up/.pod-$token in=u ;;
esac
if [ "$verify" = h ]; then command -v sha256sum >/dev/null || fail nohash; fi
if [ "$verify" != n ]; then
command -v find >/dev/null && command -v sort >/dev/null && command -v stat >/dev/null || fail nocheck
fi
u=0 g=0
if [ -n "$user" ]; then
u=${user%%:*} g=
case $user in *:*) g=${user#*:} ;; esac
n=
case $u in *[!0-9]*) n=1 ;; esac
if [ -n "$n" ] || [ -z "$g" ]; then
f=
while IFS=: read -r pn _ pu pg _; do
if [ "$pn" = "$u" ] || [ "$pu" = "$u" ]; then f=1 u=$pu g=${g:-$pg}; break; fi
done </etc/passwd
[ -n "$f$n" ] || g=${g:-0}
[ -n "$f" ] || [ -z "$n" ] || fail user
fi
case $g in
*[!0-9]*)
f=
while IFS=: read -r pn _ pg _; do
if [ "$pn" = "$g" ]; then f=1 g=$pg; break; fi
done </etc/group
[ -n "$f" ] || fail user
;;
esac
g=${g:-0}
fi
for o in "${s%/*}"/.pod-*; do
[ -d "$o" ] && [ ! -L "$o" ] || continue
t=${o##*/.pod-}
case $t in *[!0-9a-f]*) continue ;; esac
[ ${#t} = ${#token} ] || continue
case $(cat /proc/[0-9]*/cmdline 2>/dev/null) in
*"$t"*) ;;
*) rm -rf -- "$o" ;;
esac
done
umask 077
mkdir -- "$s" || exit 8
trap 'cd /; rm -rf -- "$s"' 0
trap 'exit 7' 1 2 13 15
printf 'S %s %s %s\n' "$in" "$u" "$g"
read -r go || exit 6
[ "$go" = go ] || exit 6
cd -- "$s" || exit 8
[ -e r ] || [ -L r ] || fail elsewhere
umask 022
if [ "$verify" != n ]; then
if [ "$verify" = h ]; then
odd='*[\\
'$(printf '\r')']*'
find r -type f ! -path "$odd" -exec sha256sum {} + >l1 || exit 8
find r -type f -path "$odd" -exec sh -c 'for f do sha256sum <"$f" || exit 1; done' sh {} + >>l1 || exit 8
else
find r -type f -exec stat -c '%s %n' {} + >l1 || exit 8
fi
sort l1 >l || exit 8
if [ "$(cat l)" != "$(cat e)" ]; then
printf 'E differs\n'
cat l
exit 9
fi
fi
if [ "$kind$there" != dd ]; then
if [ -L "$dest" ]; then rm -f -- "$dest" || exit 8; fi
mv -f -- r "$dest" || exit 8
exit 0
fi
merge='
to=$1 from=$2
for f in "$from"/* "$from"/.[!.]* "$from"/..?*; do
if [ -d "$f" ] && [ ! -L "$f" ] && [ -d "$to/${f##*/}" ]; then
at=$to/${f##*/}
look=$(stat -c "%a %Y %u %g" "$f") || exit 8
sh -c "$merge" sh "$at" "$f" || exit 8
rm -rf -- "$f"
set -- "$1" "$2" $look
chown "$5:$6" "$at" && chmod "$3" "$at" && touch -d "@$4" "$at" || exit 8
fi
done
find "$from" -mindepth 1 -maxdepth 1 -exec sh -c '\''to=$1; shift; mv -f -- "$@" "$to"/'\'' sh "$to" {} +'
export merge
cd r || exit 8
clash=$(find . -exec sh -c 'to=$1; shift
for f do
if [ -d "$f" ] && [ ! -L "$f" ]; then
if [ -L "$to/$f" ] || { [ -e "$to/$f" ] && [ ! -d "$to/$f" ]; }; then printf "d %s" "$f"; exit; fi
elif [ -d "$to/$f" ] && [ ! -L "$to/$f" ]; then printf "f %s" "$f"; exit
fi
done' sh "$dest" {} +)
[ -z "$clash" ] || fail "clash $clash"
cd .. || exit 8
sh -c "$merge" sh "$dest" r || exit 8
