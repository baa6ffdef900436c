found=
for p in /proc/[0-9]*; do
if has "$p/cgroup" "$cid"; then found=${p#/proc/}; break; fi
done
sure=y
if [ -z "$found" ]; then
sure=n
[ "$shared" = n ] || { printf 'E nopid\n'; exit 9; }
if [ ! -d /proc/1 ] || [ /proc/1/root/. -ef /. ]; then printf 'E notarget\n'; exit 9; fi
found=1
fi
if [ ! -d "/proc/$found/root/." ]; then
user= group=
while read -r key _ id _; do
case $key in Uid:) user=$id ;; Gid:) group=$id ;; esac
done <"/proc/$found/status"
printf 'E noroot %s %s %s\n' "$user" "$group" "$(id -u)"
exit 9
fi
printf 'R %s %s\n' "$found" "$sure"
