//! Whether an identity that answered may be given a token, a key or a profile.
//!
//! In this order: a node the user pinned is that identity and no other; a fleet's valid statement; an identity accepted
//! before; the user's own catalog file. Who has a fleet key is never asked about an identity that it did not sign.
//! Otherwise it is a first use, which only a person can accept. What an unauthenticated catalog says is never a reason
//! to trust; where it contradicts what answers, it is a reason not to.

pub mod ask;
pub mod store;

use cbrowse_protocol::{
    id::NodeId,
    identity::IdentityKey,
    statement::{SignedStatement, StatementError},
};
use serde::{Deserialize, Serialize};

pub use self::store::TrustStore;

/// What is known about who answers.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The catalog's id for it; where the catalog has none (plain DNS), the one in its status.
    pub id: &'a NodeId,
    /// `host:port`.
    pub endpoint: &'a str,
    /// The region that it claims; what the user filters by.
    pub region: &'a str,
    /// The identity that certified the TLS key.
    pub identity: &'a IdentityKey,
    /// The fleet's word, from the status or from the catalog.
    pub statement: Option<&'a SignedStatement>,
    /// The identity that the catalog names.
    pub listed: Option<Listed<'a>>,
}

/// What a catalog says about an identity, and what that is worth.
#[derive(Debug, Clone, Copy)]
pub enum Listed<'a> {
    /// The catalog is the user's own file, or was itself authenticated.
    Authenticated(&'a IdentityKey),
    /// Whoever can write to the catalog wrote this.
    Hint(&'a IdentityKey),
}

/// How an identity came to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "snake_case")]
pub enum Via {
    /// `cbrowse trust add --node`.
    Pinned,
    /// Signed by this fleet.
    Fleet {
        /// The name the user gave it.
        name: String,
    },
    /// Accepted before.
    Known,
    /// Named in the user's own catalog file.
    Catalog,
    /// A person just accepted it.
    FirstUse,
}

/// The decision that an identity may be trusted. Made by [`decide`] and [`accept`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    identity: IdentityKey,
    via: Via,
}

impl Trusted {
    /// Whom it is about.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// Why.
    pub fn via(&self) -> &Via {
        &self.via
    }
}

/// What [`decide`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Trusted(Trusted),
    /// Never seen, and nobody vouches for it: ask a person, or refuse.
    FirstUse,
    /// Do not go on, for all these reasons.
    Refused(Vec<Reason>),
}

/// Why an identity is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The user pinned another.
    #[error("you pinned {id} to the identity {pinned}, and {seen} answers")]
    Pinned {
        /// The node.
        id: NodeId,
        /// What was pinned.
        pinned: IdentityKey,
        /// What answers.
        seen: IdentityKey,
    },
    /// Another was accepted before: a reinstalled node, or somebody in between.
    #[error("THE IDENTITY OF {known} HAS CHANGED: it was {before}, and {seen} answers")]
    Changed {
        /// Under which name it was known: id or endpoint.
        known: String,
        /// What was accepted.
        before: IdentityKey,
        /// What answers.
        seen: IdentityKey,
    },
    /// There is a fleet key, and no statement.
    #[error("no fleet you trust vouches for {0}: it sends no statement")]
    NoStatement(IdentityKey),
    /// The statement does not hold.
    #[error("by the fleet key {fleet:?}: {error}")]
    Statement {
        /// The fleet's name.
        fleet: String,
        /// What is wrong.
        error: StatementError,
    },
    /// The statement is about another identity.
    #[error("the fleet's statement is about the identity {stated}, and {seen} answers")]
    StatedIdentity {
        /// In the statement.
        stated: IdentityKey,
        /// What answers.
        seen: IdentityKey,
    },
    /// The statement is about another node.
    #[error("the fleet signed this identity as node {stated}, not as {claimed}")]
    StatedId {
        /// In the statement.
        stated: NodeId,
        /// What the node or the catalog says.
        claimed: NodeId,
    },
    /// The statement is about another region.
    #[error("the fleet signed this node for region {stated:?}, and it claims {claimed:?}")]
    StatedRegion {
        /// In the statement.
        stated: String,
        /// What the node or the catalog says.
        claimed: String,
    },
    /// The catalog names another.
    #[error("the catalog names the identity {listed}, and {seen} answers")]
    Listed {
        /// In the catalog.
        listed: IdentityKey,
        /// What answers.
        seen: IdentityKey,
    },
}

/// Decides about `seen` at `now` (seconds since the Unix epoch), by what the user's `store` holds.
pub fn decide(store: &TrustStore, seen: &Seen<'_>, now: u64) -> Decision {
    let trusted = |via| Decision::Trusted(Trusted { identity: *seen.identity, via });
    if let Some(pinned) = store.pinned(seen.id) {
        if pinned == seen.identity {
            return trusted(Via::Pinned);
        }
        let (id, pinned, seen) = (seen.id.clone(), *pinned, *seen.identity);
        return Decision::Refused(vec![Reason::Pinned { id, pinned, seen }]);
    }
    let fleet = ask_fleets(store, seen, now);
    if let Ok(Some(name)) = fleet {
        return trusted(Via::Fleet { name });
    }
    match ask_memory(store, seen) {
        Memory::Same => return trusted(Via::Known),
        Memory::Changed(reasons) => return Decision::Refused(reasons),
        Memory::Nothing => {}
    }
    if let Some(Listed::Authenticated(listed)) = seen.listed {
        return if listed == seen.identity { trusted(Via::Catalog) } else { refuse_listed(listed, seen) };
    }
    match (fleet, seen.listed) {
        (Err(reasons), _) => Decision::Refused(reasons),
        (Ok(_), Some(Listed::Hint(listed))) if listed != seen.identity => refuse_listed(listed, seen),
        (Ok(_), _) => Decision::FirstUse,
    }
}

/// A person's yes to a [`Decision::FirstUse`]: remembered in `store`, which the caller writes back.
pub fn accept(store: &mut TrustStore, seen: &Seen<'_>, now: u64) -> Trusted {
    store.remember(seen.id, seen.endpoint, seen.identity, now);
    Trusted { identity: *seen.identity, via: Via::FirstUse }
}

fn refuse_listed(listed: &IdentityKey, seen: &Seen<'_>) -> Decision {
    Decision::Refused(vec![Reason::Listed { listed: *listed, seen: *seen.identity }])
}

/// The name of the fleet that vouches for it; `None` where the user has no fleet key; else why none vouches.
fn ask_fleets(store: &TrustStore, seen: &Seen<'_>, now: u64) -> Result<Option<String>, Vec<Reason>> {
    let mut reasons = Vec::new();
    for (name, key) in store.fleets() {
        let Some(statement) = seen.statement else {
            return Err(vec![Reason::NoStatement(*seen.identity)]);
        };
        match statement.verify(key, now) {
            Ok(statement) => {
                let wrong = contradictions(&statement, seen);
                if wrong.is_empty() {
                    return Ok(Some(name.to_owned()));
                }
                reasons.extend(wrong);
            }
            Err(error) => reasons.push(Reason::Statement { fleet: name.to_owned(), error }),
        }
    }
    if reasons.is_empty() { Ok(None) } else { Err(reasons) }
}

fn contradictions(statement: &cbrowse_protocol::statement::Statement, seen: &Seen<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if statement.identity != *seen.identity {
        reasons.push(Reason::StatedIdentity { stated: statement.identity, seen: *seen.identity });
    }
    if statement.id != *seen.id {
        reasons.push(Reason::StatedId { stated: statement.id.clone(), claimed: seen.id.clone() });
    }
    if statement.region != seen.region {
        let (stated, claimed) = (statement.region.clone(), seen.region.to_owned());
        reasons.push(Reason::StatedRegion { stated, claimed });
    }
    reasons
}

enum Memory {
    Nothing,
    Same,
    Changed(Vec<Reason>),
}

/// What was accepted before under this id, or at this endpoint.
fn ask_memory(store: &TrustStore, seen: &Seen<'_>) -> Memory {
    let mut same = false;
    let mut changed = Vec::new();
    for (known, before) in store.known(seen.id, seen.endpoint) {
        if before == seen.identity {
            same = true;
        } else {
            changed.push(Reason::Changed { known: known.to_owned(), before: *before, seen: *seen.identity });
        }
    }
    match (changed.is_empty(), same) {
        (false, _) => Memory::Changed(changed),
        (true, true) => Memory::Same,
        (true, false) => Memory::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::{identity::SigningKey, statement::Statement};

    use super::*;

    const NOW: u64 = 1000;

    struct World {
        store: TrustStore,
        id: NodeId,
        identity: IdentityKey,
        statement: Option<SignedStatement>,
    }

    impl World {
        fn new() -> Self {
            let id = "n1".parse().expect("id");
            let identity = SigningKey::generate().public();
            Self { store: TrustStore::default(), id, identity, statement: None }
        }

        fn with_fleet(fleet: &SigningKey) -> Self {
            let mut world = Self::new();
            world.store.add_fleet("main", fleet.public()).expect("first of its name");
            world
        }

        fn seen(&self) -> Seen<'_> {
            Seen {
                id: &self.id,
                endpoint: "192.0.2.1:7443",
                region: "eu",
                identity: &self.identity,
                statement: self.statement.as_ref(),
                listed: None,
            }
        }

        fn sign(&mut self, fleet: &SigningKey, change: impl FnOnce(&mut Statement)) {
            let mut statement = Statement {
                identity: self.identity,
                id: self.id.clone(),
                region: "eu".into(),
                not_after: NOW + 10,
            };
            change(&mut statement);
            self.statement = Some(statement.sign(fleet));
        }

        fn decide(&self) -> Decision {
            decide(&self.store, &self.seen(), NOW)
        }
    }

    fn via(decision: &Decision) -> Via {
        match decision {
            Decision::Trusted(trusted) => trusted.via.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn reasons(decision: Decision) -> Vec<Reason> {
        match decision {
            Decision::Refused(reasons) => reasons,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_valid_statement_is_trusted_and_every_lie_is_named() {
        let fleet = SigningKey::generate();
        let mut world = World::with_fleet(&fleet);
        world.sign(&fleet, |_| {});
        assert_eq!(via(&world.decide()), Via::Fleet { name: "main".into() });

        let other = SigningKey::generate().public();
        world.sign(&fleet, |s| {
            s.identity = other;
            s.id = "n2".parse().expect("id");
            s.region = "us".into();
        });
        let wrong = reasons(world.decide());
        assert!(matches!(
            wrong[..],
            [Reason::StatedIdentity { .. }, Reason::StatedId { .. }, Reason::StatedRegion { .. }]
        ));

        world.sign(&fleet, |s| s.not_after = NOW - 1);
        let expired = Reason::Statement { fleet: "main".into(), error: StatementError::Expired(1) };
        assert_eq!(reasons(world.decide()), [expired]);
    }

    /// Promise 12: with a fleet key, an unsigned identity is refused and never a question.
    #[test]
    fn who_has_a_fleet_key_is_never_asked_about_strangers() {
        let fleet = SigningKey::generate();
        let mut world = World::with_fleet(&fleet);
        assert_eq!(reasons(world.decide()), [Reason::NoStatement(world.identity)]);
        world.sign(&SigningKey::generate(), |_| {});
        assert!(matches!(
            reasons(world.decide())[..],
            [Reason::Statement { error: StatementError::Signature(_), .. }]
        ));
        let hint = Seen { listed: Some(Listed::Hint(&world.identity)), ..world.seen() };
        assert!(matches!(decide(&world.store, &hint, NOW), Decision::Refused(_)));
    }

    #[test]
    fn one_of_several_fleets_is_enough() {
        let (first, second) = (SigningKey::generate(), SigningKey::generate());
        let mut world = World::with_fleet(&first);
        world.store.add_fleet("other", second.public()).expect("first of its name");
        world.sign(&second, |_| {});
        assert_eq!(via(&world.decide()), Via::Fleet { name: "other".into() });
    }

    #[test]
    fn a_stranger_is_a_question_then_a_known_one_then_an_alarm() {
        let world = World::new();
        let seen = world.seen();
        let mut store = TrustStore::default();
        assert_eq!(decide(&store, &seen, NOW), Decision::FirstUse);
        assert_eq!(accept(&mut store, &seen, NOW).via, Via::FirstUse);
        assert_eq!(via(&decide(&store, &seen, NOW)), Via::Known);
        let moved = Seen { endpoint: "192.0.2.2:7443", ..seen };
        assert_eq!(via(&decide(&store, &moved, NOW)), Via::Known);

        let other = SigningKey::generate().public();
        let forged = Seen { identity: &other, ..seen };
        let refused = reasons(decide(&store, &forged, NOW));
        assert!(
            matches!(&refused[..], [Reason::Changed { before, .. }] if *before == world.identity),
            "{refused:?}"
        );
        let renamed: NodeId = "n9".parse().expect("id");
        let renamed = Seen { id: &renamed, ..forged };
        let refused = reasons(decide(&store, &renamed, NOW));
        assert!(matches!(refused[..], [Reason::Changed { .. }]), "the endpoint is known, too");
    }

    #[test]
    fn a_fleet_may_replace_what_was_accepted_but_not_what_was_pinned() {
        let fleet = SigningKey::generate();
        let mut world = World::with_fleet(&fleet);
        let before = SigningKey::generate().public();
        world.store.remember(&world.id.clone(), "192.0.2.1:7443", &before, NOW);
        world.sign(&fleet, |_| {});
        assert!(matches!(via(&world.decide()), Via::Fleet { .. }));
        world.store.pin(&world.id.clone(), before, NOW);
        assert!(matches!(reasons(world.decide())[..], [Reason::Pinned { .. }]));
        world.store.pin(&world.id.clone(), world.identity, NOW);
        assert_eq!(via(&world.decide()), Via::Pinned);
    }

    #[test]
    fn the_users_own_file_counts_and_a_strangers_catalog_only_warns() {
        let world = World::new();
        let other = SigningKey::generate().public();
        let listed = |listed| decide(&world.store, &Seen { listed: Some(listed), ..world.seen() }, NOW);
        assert_eq!(via(&listed(Listed::Authenticated(&world.identity))), Via::Catalog);
        assert!(matches!(reasons(listed(Listed::Authenticated(&other)))[..], [Reason::Listed { .. }]));
        assert_eq!(listed(Listed::Hint(&world.identity)), Decision::FirstUse);
        assert!(matches!(reasons(listed(Listed::Hint(&other)))[..], [Reason::Listed { .. }]));
        let fleet = SigningKey::generate();
        let guarded = World::with_fleet(&fleet);
        let own = Seen { listed: Some(Listed::Authenticated(&guarded.identity)), ..guarded.seen() };
        assert_eq!(via(&decide(&guarded.store, &own, NOW)), Via::Catalog);
    }
}
