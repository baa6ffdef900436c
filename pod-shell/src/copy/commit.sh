if [ "$verify" != n ]; then
command -v find >/dev/null && command -v sort >/dev/null && command -v stat >/dev/null || fail nocheck
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
keep=
printf 'E differs\n'
cat l
exit 9
fi
fi
if [ "$kind$there" != dd ]; then
if [ -L "$dest" ]; then rm -f -- "$dest" || exit 8; fi
[ ! -d "$dest" ] || fail raced
mode=
if [ "$kind" = d ] && [ ! -w r ]; then mode=$(stat -c %a r) && chmod u+w r; fi
mv -f -- r "$dest" || exit 8
[ -z "$mode" ] || chmod "$mode" "$dest"
exit 0
fi
merge='
to=$1 from=$2
for f in "$from"/* "$from"/.[!.]* "$from"/..?*; do
if [ -d "$f" ] && [ ! -L "$f" ] && [ -d "$to/${f##*/}" ]; then
at=$to/${f##*/}
look=$(stat -c "%a %Y" "$f")
sh -c "$merge" sh "$at" "$f" || exit 8
rm -rf -- "$f"
chmod "${look% *}" "$at" || exit 8
touch -d "@${look#* }" "$at" || exit 8
fi
done
find "$from" -mindepth 1 -maxdepth 1 -exec sh -c '\''to=$1; shift; mv -f -- "$@" "$to"/'\'' sh "$to" {} +'
export merge
case $dest in /*) ;; *) fail relative ;; esac
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
