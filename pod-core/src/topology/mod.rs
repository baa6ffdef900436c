//! Topology files: networks, workloads and the reach expected between them, brought up as one,
//! proven by probes, and taken down without a trace.
//!
//! A file is read and checked whole before anything is touched; every mistake names the file, the
//! line and the column.
//!
//! # The file
//!
//! ```yaml
//! name: shop                  # 1 to 63 of a-z A-Z 0-9 . _ -; the file's stem unless given
//! backend: "local:"           # where all runs unless a workload says otherwise
//! networks:
//!   front:                    # the network's name
//!     vlan: 100               # 1 to 4094; 0 or absent is untagged
//!     subnet: 10.0.0.0/24     # or subnets: [10.0.0.0/24, fd00::/64]
//!     reserved: [10.0.0.1]    # never handed out: a gateway, a printer
//!     uplink: eth1            # leaves the host here, tagged; needs a vlan; or an interface for each platform:
//!     # uplink: { local: eth1, docker: eth2, "k8s://lab/default": net1 }
//!     mtu: 1500
//!     isolated: false         # true: its workloads are cut off from each other
//!     labels: { tier: front }
//! defaults:                   # for every workload that does not say otherwise
//!   image: host
//!   restart: "no"             # on-failure, on-failure:3, always or unless-stopped
//! workloads:
//!   web:
//!     image: debian:12        # host, rootfs:DIR, archive:FILE or a reference; paths from the file's folder
//!     backend: lab            # a configured backend
//!     count: 3                # web-1, web-2, web-3
//!     command: [sleep, "60"]
//!     env: { PORT: 80 }
//!     cwd: /srv
//!     user: www-data
//!     labels: { tier: front }
//!     limits: { cpus: 0.5, memory: 64M, pids: 100 }
//!     keep_alive: true        # true unless a command is given
//!     tty: false
//!     mounts:                 # added to those of the defaults
//!       - { host: ./site, at: /srv/www, read_only: true }  # of the engine's machine; from the file's folder
//!       - { volume: data, at: /var/lib/data }              # made when it is not there, and left
//!       - { tmpfs: 16M, at: /tmp }
//!     restart: on-failure:3
//!     networks: [front]       # or, with particulars:
//!   db:
//!     networks:
//!       front:
//!         ip: 10.0.0.5        # or ips: [10.0.0.5, fd00::5]; else the next free of each subnet
//!         mac: 02:00:00:00:00:05
//!         mtu: 1400
//!         interface: eth0
//!         routes: [{ to: 0.0.0.0/0, via: 10.0.0.1 }]
//!         dns: [10.0.0.1]
//!         # trunk: [100, 200] # tagged: these VLAN ids pass
//!   site:
//!     ports: [8080:80]        # [[ADDRESS:]PORT:]INSIDE[/udp]; of 127.0.0.1 unless said, PORT 0 is a free one
//! reach:                      # what differs from the rule below; of two that match the later counts
//!   - { from: web, to: db, expect: blocked }   # reached, blocked or any; web is all three
//! ```
//!
//! Two workloads are expected to reach each other when they share a network that is not isolated, and
//! to be blocked otherwise; nothing is expected where there is no address to ask or to ask from, or
//! where they meet only on a trunk. Workloads that share a network know each other by name.
//!
//! Every address is chosen once for the whole topology: those the file gives, then those that are held
//! already, then the lowest free ones in the order of the file.

mod addresses;
mod deployment;
mod desired;
mod differences;
mod down;
mod draft;
mod expect;
mod file;
mod hosts;
mod lower;
mod matching;
mod matrix;
mod model;
mod parse;
#[cfg(test)]
mod parse_tests;
mod place;
mod plan;
mod probes;
#[cfg(test)]
mod probes_tests;
mod progress;
mod run;
#[cfg(test)]
mod tests;
mod up;
mod validate;
mod verify;

pub use deployment::Deployment;
pub use down::{DownReport, down_named};
pub use matrix::{Cell, Matrix, Measured};
pub use model::{Expect, ReachRule, Topology, TopologyNetwork, TopologyWorkload};
pub use place::Place;
pub use plan::{Action, Change, Plan, Thing};
pub use progress::Progress;
pub use up::UpReport;
pub use verify::Verification;
