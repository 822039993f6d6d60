//! The users and groups of this machine, read from /etc/passwd and /etc/group: a static
//! binary asks no C library for them.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A user of this machine, as whom a process can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// The user's own group.
    pub(crate) gid: u32,
    /// The further groups that list the user.
    pub(crate) groups: Vec<u32>,
}

impl Account {
    /// The user with this name, or with this number as a name, in the files below `root`.
    pub(crate) fn find(root: &Path, name: &str) -> Option<Account> {
        let number = name.parse::<u32>().ok();
        Account::find_by(root, |account| {
            account.name == name || Some(account.uid) == number
        })
    }

    /// The user with this number.
    pub(crate) fn find_by_uid(root: &Path, uid: u32) -> Option<Account> {
        Account::find_by(root, |account| account.uid == uid)
    }

    /// Lets the calling thread go on as this user, for good.
    ///
    /// # Errors
    /// The system does not allow it: the caller is not root.
    pub(crate) fn take_over(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));

        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }

    fn find_by(root: &Path, is_it: impl Fn(&Account) -> bool) -> Option<Account> {
        let users = fs::read_to_string(root.join("etc/passwd")).ok()?;
        let account = users.lines().filter_map(parse_user).find(is_it)?;

        let groups = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
        let groups = groups
            .lines()
            .filter_map(|line| parse_membership(line, &account.name))
            .collect();
        Some(Account { groups, ..account })
    }
}

/// The number of the group with this name.
pub(crate) fn find_group(root: &Path, name: &str) -> Option<u32> {
    let groups = fs::read_to_string(root.join("etc/group")).ok()?;
    groups.lines().find_map(|line| {
        let [found, _, gid, _] = fields(line)?;
        (found == name).then(|| gid.parse().ok())?
    })
}

/// The name of the group with this number, or the number where it has no name.
pub(crate) fn show_group(root: &Path, gid: u32) -> String {
    let groups = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let [name, _, found, _] = fields(line)?;
        (found.parse() == Ok(gid)).then_some(name)
    });
    name.map_or_else(|| gid.to_string(), str::to_owned)
}

/// The user in a line of /etc/passwd, without the further groups.
fn parse_user(line: &str) -> Option<Account> {
    let [name, _, uid, gid] = fields(line)?;
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
    })
}

/// The number of the group in a line of /etc/group that lists `user`.
fn parse_membership(line: &str, user: &str) -> Option<u32> {
    let [_, _, gid, members] = fields(line)?;
    let is_member = members.split(',').any(|member| member == user);
    is_member.then(|| gid.parse().ok())?
}

/// The first four fields of a line.
fn fields(line: &str) -> Option<[&str; 4]> {
    let mut fields = line.split(':');
    Some([
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_with_their_groups() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let users = "root:x:0:0:root:/root:/bin/sh\n\
                     broken\nfleetbeat:x:998:997:Fleetbeat:/var/lib/fleetbeat:/bin/false\n";
        fs::write(root.path().join("etc/passwd"), users).unwrap();
        let groups = "root:x:0:\nfleetbeat:x:997:www-data\n\
                      ssl-cert:x:110:postgres,fleetbeat\nadm:x:4:fleetbeatx\n";
        fs::write(root.path().join("etc/group"), groups).unwrap();

        let fleetbeat = Account {
            name: "fleetbeat".to_owned(),
            uid: 998,
            gid: 997,
            groups: vec![110],
        };
        let find = |name| Account::find(root.path(), name);
        assert_eq!(find("fleetbeat"), Some(fleetbeat.clone()));
        assert_eq!(find("998"), Some(fleetbeat.clone()));
        assert_eq!(Account::find_by_uid(root.path(), 998), Some(fleetbeat));
        assert_eq!(find("nobody"), None);
        assert_eq!(find_group(root.path(), "ssl-cert"), Some(110));
        assert_eq!(find_group(root.path(), "ssl"), None);
        assert_eq!(show_group(root.path(), 997), "fleetbeat");
        assert_eq!(show_group(root.path(), 5), "5");
    }
}
