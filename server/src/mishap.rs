//! What an operator does about what the system refuses.

use std::io;
use std::net::SocketAddr;

/// Ports below are the superuser's, unless the system says otherwise.
const PRIVILEGED_BELOW: u16 = 1024;

/// About files and directories.
pub(crate) fn of_io(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run this as the user that owns it, or have `chown` give it to the one that runs this"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: `findmnt` and `dmesg` say why; make it writable, or name \
             another directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room (`df -h`), then try again"
        }
        io::ErrorKind::NotFound => "see that its name is right, and that it is there",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a directory has to be: move it away, or name another directory"
        }
        _ => "`dmesg` may say more",
    }
}

/// About an address to listen on.
pub(crate) fn of_listening(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has it, perhaps another server (`ss -ltnp 'sport = :{port}'` shows \
             which): end that, or write another port"
        ),
        io::ErrorKind::PermissionDenied if port < PRIVILEGED_BELOW => format!(
            "ports below {PRIVILEGED_BELOW} need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE \
             in the unit of systemd, or write a port above"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address (`ip address` shows them)".to_owned()
        }
        // EAFNOSUPPORT
        _ if error.raw_os_error() == Some(97) => {
            "this machine has no IPv6: write 0.0.0.0 in place of [::]".to_owned()
        }
        _ => "see that the address is right".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_next_step() {
        let check = |kind, expected| {
            let todo = of_io(&io::Error::from(kind));
            assert!(todo.contains(expected), "{kind}: {todo}");
        };
        check(io::ErrorKind::PermissionDenied, "chown");
        check(io::ErrorKind::ReadOnlyFilesystem, "read-only");
        check(io::ErrorKind::StorageFull, "make room");
        check(io::ErrorKind::NotADirectory, "move it away");
        let listening = |kind, address: &str, expected| {
            let todo = of_listening(&io::Error::from(kind), address.parse().unwrap());
            assert!(todo.contains(expected), "{kind}: {todo}");
        };
        listening(io::ErrorKind::AddrInUse, "[::]:5222", "sport = :5222");
        listening(io::ErrorKind::PermissionDenied, "[::]:443", "CAP_NET");
        listening(io::ErrorKind::AddrNotAvailable, "192.0.2.1:5222", "ip addr");
        let no_ipv6 = io::Error::from_raw_os_error(97);
        let todo = of_listening(&no_ipv6, "[::]:5222".parse().unwrap());
        assert!(todo.contains("0.0.0.0"), "{todo}");
    }
}
