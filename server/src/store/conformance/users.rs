//! What every backend must do with users.

use fleetbeat_protocol::Role;

use super::fixtures::act;
use crate::store::{Conflict, Store, StoreError, User};

fn user(name: &str, role: Role) -> User {
    let hashed_password = format!("hash of {name}");
    User {
        username: name.to_owned(),
        role,
        hashed_password,
        token_version: "1".to_owned(),
    }
}

pub(super) fn users_are_kept(store: &dyn Store) {
    assert!(store.users().unwrap().is_empty());
    let (ann, bob) = (user("ann", Role::Readonly), user("bob", Role::Superadmin));
    store.add_user(&bob, &act()).unwrap();
    store.add_user(&ann, &act()).unwrap();
    assert_eq!(store.users().unwrap(), [ann.clone(), bob.clone()]);
    let taken = store.add_user(&user("ann", Role::Admin), &act());
    assert!(matches!(
        taken,
        Err(StoreError::Conflict(Conflict::UserExists(name))) if name == "ann"
    ));
    assert_eq!(store.user("ann").unwrap(), Some(ann), "the first one stays");
    store
        .set_password("bob", "another hash", "2", &act())
        .unwrap();
    let changed = User {
        hashed_password: "another hash".to_owned(),
        token_version: "2".to_owned(),
        ..bob
    };
    assert_eq!(store.user("bob").unwrap(), Some(changed));
    assert!(matches!(
        store.set_password("eve", "", "", &act()),
        Err(StoreError::Conflict(Conflict::NoSuchUser(_)))
    ));
    assert_eq!(store.user("eve").unwrap(), None);
}

pub(super) fn the_last_superadmin_stays(store: &dyn Store) {
    for user in [
        user("ann", Role::Superadmin),
        user("bob", Role::Superadmin),
        user("eve", Role::Admin),
    ] {
        store.add_user(&user, &act()).unwrap();
    }
    store.remove_user("ann", &act()).unwrap();
    assert!(matches!(
        store.remove_user("bob", &act()),
        Err(StoreError::Conflict(Conflict::LastSuperadmin(_)))
    ));
    store.remove_user("eve", &act()).unwrap();
    assert!(matches!(
        store.remove_user("eve", &act()),
        Err(StoreError::Conflict(Conflict::NoSuchUser(_)))
    ));
    assert_eq!(store.users().unwrap().len(), 1);
}
