cd -- "$s" || exit 8
umask 022
tar -x -p $owner -f - || exit 8
[ -f e ] || fail cut
if [ -f d ]; then tar -x -p $owner -f d || exit 8; fi
