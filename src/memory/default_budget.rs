//! The default of `limits.memory`: half of what the container's limit leaves after models, snapshot and caches.

use std::path::{Path, PathBuf};

use super::LEAST;

/// The largest default: more is set on purpose or not at all.
const MOST: usize = 16 << 30;

/// What the default depends on, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct DefaultBudget {
    /// The memory of the container or the machine.
    pub limit: u64,
    /// Resident memory after the models and the snapshot were loaded.
    pub resident: u64,
    /// Size of the models and the snapshot: a reload holds a second copy for a while.
    pub reload: u64,
    /// Sum of the caches' limits, which fill up later.
    pub caches: u64,
}

impl DefaultBudget {
    /// The budget: half of what is left. The other half is for what is not counted one by one: connections, buffers of
    /// the network, memory between the allocator's blocks.
    pub fn bytes(&self) -> usize {
        let taken = self
            .resident
            .saturating_add(self.reload)
            .saturating_add(self.caches);
        let half = self.limit.saturating_sub(taken) / 2;
        usize::try_from(half).unwrap_or(usize::MAX).clamp(LEAST, MOST)
    }
}

/// The memory that this process may use: of its container, or of the machine if that is less.
pub fn available_memory() -> Option<u64> {
    container_limit().into_iter().chain(machine()).min()
}

/// The memory limit of this process's container in bytes (cgroup v2 or v1); `None` without one.
pub fn container_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = cgroup_files(&groups).into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        // Version 1 has no word for "no limit", but a number beyond any machine.
        text.trim().parse::<u64>().ok().filter(|&limit| limit < 1 << 60)
    });
    limits.min()
}

/// The files that may hold a limit: of each group and of those above it.
fn cgroup_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(
            group
                .ancestors()
                .map(|group| Path::new(root).join(group).join(file)),
        );
    }
    files
}

/// The memory of the machine in bytes.
fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_is_for_requests() {
        let budget = DefaultBudget {
            limit: 512 << 20,
            resident: 60 << 20,
            reload: 32 << 20,
            caches: 20 << 20,
        };
        assert_eq!(budget.bytes(), 200 << 20);
        let full = DefaultBudget {
            resident: 600 << 20,
            ..budget
        };
        assert_eq!(full.bytes(), LEAST);
    }

    #[test]
    fn limits_of_outer_groups_count_too() {
        let files = cgroup_files("0::/kubepods/pod1\n");
        let names: Vec<&str> = files.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/kubepods/pod1/memory.max",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        let first = cgroup_files("9:cpu:/x\n4:memory,hugetlb:/x\n");
        assert_eq!(
            first[0],
            Path::new("/sys/fs/cgroup/memory/x/memory.limit_in_bytes")
        );
        assert!(available_memory().is_some());
    }
}
