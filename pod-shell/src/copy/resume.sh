umask 022
tar -x -p $owner -f - || exit 8
[ -f e ] || fail part
[ -d "$s" ] || fail lost
if [ -f k ]; then . ./k || exit 8; fi
if [ -f d ]; then tar -x -p $owner -f d || exit 8; fi
