mine() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && case $(ls -ld -- "$1") in drwx--[-S]---*) ;; *) return 1 ;; esac; }
here() { printf '%s %s' "$(readlink /proc/self/ns/pid)" "$(cat /proc/sys/kernel/random/boot_id)"; } 2>/dev/null
idle() {
w=$(cat "$1/who" 2>/dev/null)
case $w in
0' '*) ;;
*' pid:'*) [ "${w#* }" != "$(here)" ] || { [ ! -d "/proc/${w%% *}" ]; return; } ;;
esac
[ -z "$(find "$1" -mmin -1 2>&1)" ]
}
forget() {
for o in "$up/$n" "$up/$n"-* "$dest/$n" "$dest/$n"-*; do
mine "$o" || continue
case $o in */"$n") ;; *) idle "$o" || continue ;; esac
rm -rf -- "$o"
done
}
leave() {
e=$?
cd /
if [ $e != 0 ] && [ -n "$keep" ]; then
rm -f -- "$s/who"
[ ! -e "$k" ] && mv -- "$s" "$k" 2>/dev/null || rm -rf -- "$s"
else
rm -rf -- "$s"
[ $e != 0 ] || forget
fi
}
