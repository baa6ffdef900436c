_pod_t=$1$2 _pod_s=$3 _pod_p=$4 _pod_c=0
exec 2>/dev/null
[ -r /proc/self/environ ] || exit 3
command -v tr >/dev/null && _pod_c=1
_pod_has() {
for _pod_f in environ cmdline; do
if [ "$_pod_c" = 1 ]; then
case $(tr '\000' '\n' <"/proc/$1/$_pod_f") in *"$_pod_t"*) return 0 ;; esac
else
while IFS= read -r _pod_l || [ -n "$_pod_l" ]; do
case $_pod_l in *"$_pod_t"*) return 0 ;; esac
done <"/proc/$1/$_pod_f"
fi
done
return 1
}
if [ -n "$_pod_p" ]; then
! _pod_has "$_pod_p" || kill "-$_pod_s" "$_pod_p" || [ ! -e "/proc/$_pod_p" ] || exit 4
exit 0
fi
_pod_i=0
while :; do
_pod_all=' ' _pod_kin=
for _pod_d in /proc/[0-9]*; do
_pod_q=${_pod_d#/proc/}
[ "$_pod_q" != "$$" ] || continue
IFS= read -r _pod_l <"$_pod_d/stat" || continue
set -- ${_pod_l##*) }
case $1 in Z|X) continue ;; esac
if _pod_has "$_pod_q"; then _pod_all="$_pod_all$_pod_q "; else _pod_kin="$_pod_kin $_pod_q:$2"; fi
done
_pod_n=
while [ "$_pod_n" != "$_pod_all" ]; do
_pod_n=$_pod_all
for _pod_k in $_pod_kin; do
case $_pod_all in
*" ${_pod_k%%:*} "*) ;;
*" ${_pod_k##*:} "*) _pod_all="$_pod_all${_pod_k%%:*} " ;;
esac
done
done
[ "$_pod_all" != ' ' ] || exit 0
[ "$_pod_s" != 0 ] || exit 5
kill -9 $_pod_all
_pod_i=$((_pod_i+1))
if [ "$_pod_i" -gt 40 ]; then printf '%s' "$_pod_all"; exit 4; fi
[ "$_pod_i" -lt 3 ] || sleep 0.05 || sleep 1
done
