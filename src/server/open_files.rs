//! How many connections the limit of open files allows. A server that has no descriptor left could not even be asked whether
//! it is alive.

use crate::config::Config;
use crate::os;

/// Connections of the operations port: probes, Prometheus and operators. Fewer if the limit is low. New ones replace the
/// oldest: a client that opens many at once must not replace a probe before it is answered.
const OPERATIONS: usize = 128;

/// Descriptors for everything that is no connection of a client: the program itself, files that are read, stores.
const PROGRAM: usize = 48;
const STORE: usize = 16;

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    /// Of REST and of gRPC each: `server.connections`, or fewer if the limit of open files is low.
    pub(super) clients: usize,
    /// Of the operations port.
    pub(super) operations: usize,
}

/// Raises the limit of open files and returns the connections that it allows.
pub(super) fn connections(config: &Config) -> ConnectionLimits {
    let wanted = config.server.connections;
    let Some(files) = os::raise_open_files() else {
        return ConnectionLimits {
            clients: wanted,
            operations: OPERATIONS,
        };
    };
    let allowed = allowed(usize::try_from(files).unwrap_or(usize::MAX), config.source.len());
    if allowed.clients < wanted {
        tracing::warn!(
            open_files = files,
            connections = allowed.clients,
            "fewer connections than server.connections, because the limit of open files is low (ulimit -n)"
        );
    }
    ConnectionLimits {
        clients: wanted.min(allowed.clients),
        ..allowed
    }
}

/// The limit of open files that a server with so many connections of REST and of gRPC, and so many stores, needs.
pub(crate) const fn needed(connections: usize, stores: usize) -> usize {
    2 * connections + OPERATIONS + PROGRAM + STORE * stores
}

/// The connections that a limit of open files allows.
fn allowed(files: usize, stores: usize) -> ConnectionLimits {
    let operations = OPERATIONS.min(files / 8).max(2);
    let reserved = operations + PROGRAM.min(files / 2) + STORE * stores;
    ConnectionLimits {
        // For two ports.
        clients: (files.saturating_sub(reserved) / 2).max(4),
        operations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_files_is_kept_for_other_things() {
        let numbers = |files, stores| {
            let allowed = allowed(files, stores);
            (allowed.clients, allowed.operations)
        };
        assert_eq!(numbers(1_048_576, 0), (524_200, 128));
        assert_eq!(numbers(1024, 1), (416, 128));
        assert_eq!(numbers(64, 0), (12, 8));
        assert_eq!(numbers(8, 2), (4, 2));
    }

    #[test]
    fn as_many_files_as_are_needed_allow_all_connections() {
        for (connections, stores) in [(4, 0), (100, 0), (100, 3), (500, 1), (10_000, 2)] {
            let allowed = allowed(needed(connections, stores), stores);
            assert!(
                allowed.clients >= connections,
                "{connections}, {stores}: {allowed:?}"
            );
        }
    }
}
