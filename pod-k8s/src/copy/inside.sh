inside() {
plain "$1"; left=$v at= links=0
while [ -n "$left" ]; do
part=${left%%/*}
case $left in */*) left=${left#*/} more=y ;; *) left= more= ;; esac
case $part in
''|.) continue ;;
..) at=${at%/*}; continue ;;
esac
if [ -L "$within$at/$part" ] && { [ -n "$more" ] || [ "$2" = f ]; }; then
links=$((links+1))
[ $links -le 40 ] || { echo 'too many levels of symbolic links' >&2; exit 8; }
to=$(readlink -- "$within$at/$part" && echo .) || exit 8
to=${to%??}
case $to in /*) at= ;; esac
if [ -n "$more" ]; then left=$to/$left; else left=$to; fi
continue
fi
at=$at/$part
done
v=$within${at:-/}
}
has() {
while IFS= read -r line; do
case $line in *"$2"*) return 0 ;; esac
done <"$1"
return 1
} 2>/dev/null
