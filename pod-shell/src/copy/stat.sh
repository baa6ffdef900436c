LC_ALL=C
export LC_ALL
plain() { v=$(printf '%b.' "$1"); v=${v%.}; }
${place:-plain} "$1" "$2"; path=$v
l=
[ "$2" != f ] || l=-L
if command -v stat >/dev/null; then
stat $l -c '%f %s %Y %u %g %y' -- "$path" || exit 8
else
ls -ldn $l -- "$path" || exit 8
fi
[ -n "$l" ] || [ ! -L "$path" ] || readlink -- "$path"
