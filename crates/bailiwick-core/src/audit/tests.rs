use super::*;
use crate::{id::Id, identity::OrgId, secret::Secret};

fn keys(bytes: &[u8]) -> AuditKeys {
    let roots: Vec<_> = bytes.iter().map(|byte| Secret::new([*byte; 32])).collect();
    AuditKeys::new(&roots[0], &roots[1..])
}

fn act() -> Act {
    Act::of(Actor::operator(Some("ann")), Timestamp::from_micros(1_700_000_000_000_000))
}

/// A chain of `length` entries.
fn chain(keys: &AuditKeys, chain: Chain, length: u64) -> Vec<Entry> {
    let mut head = Head::genesis(chain);
    (0..length)
        .map(|_| {
            let entry = keys.link(&head, &act(), &SecurityEvent::new(SecurityEventKind::KeyPromoted));
            head = entry.head();
            entry
        })
        .collect()
}

fn verify(keys: &AuditKeys, entries: &[Entry], kept: &[Head], noted: &Head) -> Result<(), (u64, Fault)> {
    let mut verifier = Verifier::new(keys.clone(), noted.chain, kept);
    let checked = entries.iter().try_for_each(|entry| verifier.check(entry));
    checked.and_then(|()| verifier.finish(noted)).map_err(|broken| (broken.sequence, broken.fault))
}

// LOG-10
#[test]
fn an_entry_that_was_changed_removed_put_in_or_moved_is_found() {
    let keys = keys(&[1]);
    let whole = chain(&keys, Chain::Site, 6);
    let noted = whole[5].head();
    assert_eq!(verify(&keys, &whole, &[], &noted), Ok(()));

    type Change = fn(&mut Entry);
    let changes: [Change; 15] = [
        |entry| entry.event.push('x'),
        |entry| entry.at = Timestamp::from_micros(entry.at.as_micros() + 1),
        |entry| entry.actor_kind = "user".to_owned(),
        |entry| entry.actor_id = Some(Uuid::from_u128(1)),
        |entry| entry.actor_name = Some("bob".to_owned()),
        |entry| entry.actor_name = None,
        |entry| entry.target_kind = Some("user".to_owned()),
        |entry| entry.target_id = Some(String::new()),
        |entry| entry.request_id = Some("abcd1234".to_owned()),
        |entry| entry.remote_addr = Some("192.0.2.1".to_owned()),
        |entry| entry.outcome = "denied".to_owned(),
        |entry| entry.details = "{ }".to_owned(),
        |entry| entry.hash[0] ^= 1,
        |entry| entry.hash.truncate(16),
        |entry| entry.chain = Chain::Org(Id::from_uuid(Uuid::from_u128(1))),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut changed = whole.clone();
        change(&mut changed[2]);
        assert_eq!(verify(&keys, &changed, &[], &noted), Err((3, Fault::Changed)), "{index}");
    }
    let mut removed = whole.clone();
    removed.remove(2);
    assert_eq!(verify(&keys, &removed, &[], &noted), Err((3, Fault::Missing)));
    // Also if the others close up, and if the first goes.
    removed.iter_mut().skip(2).for_each(|entry| entry.sequence -= 1);
    assert_eq!(verify(&keys, &removed, &[], &whole[5].head()), Err((3, Fault::Changed)));
    assert_eq!(verify(&keys, &whole[1..], &[], &noted), Err((1, Fault::Missing)));

    let mut put_in = whole.clone();
    put_in
        .insert(2, keys.link(&whole[1].head(), &act(), &SecurityEvent::new(SecurityEventKind::UserCreated)));
    assert_eq!(verify(&keys, &put_in, &[], &noted), Err((3, Fault::Changed)));
    let mut swapped = whole;
    swapped.swap(2, 3);
    (swapped[2].sequence, swapped[3].sequence) = (3, 4);
    assert_eq!(verify(&keys, &swapped, &[], &noted), Err((3, Fault::Changed)));
}

// LOG-10
#[test]
fn a_chain_that_was_cut_or_made_anew_is_found_by_its_head() {
    let keys = keys(&[1]);
    let whole = chain(&keys, Chain::Site, 6);
    let (noted, earlier) = (whole[5].head(), whole[3].head());
    assert_eq!(verify(&keys, &whole, std::slice::from_ref(&earlier), &noted), Ok(()));
    // The entries alone, and then the head of the database too: only the head that was kept knows.
    assert_eq!(verify(&keys, &whole[..3], &[], &noted), Err((4, Fault::Truncated)));
    assert_eq!(verify(&keys, &whole[..3], &[], &whole[2].head()), Ok(()));
    assert_eq!(
        verify(&keys, &whole[..3], std::slice::from_ref(&earlier), &whole[2].head()),
        Err((4, Fault::Truncated))
    );
    assert_eq!(
        verify(&keys, &[], std::slice::from_ref(&earlier), &Head::genesis(Chain::Site)),
        Err((1, Fault::Truncated))
    );
    // One more than the database has noted.
    assert_eq!(verify(&keys, &whole, &[], &whole[4].head()), Err((6, Fault::BehindTheEnd)));
    // Whoever has the key can make another chain, but not the one that was.
    let mut other = act();
    other.actor = Actor::SYSTEM;
    let mut head = Head::genesis(Chain::Site);
    let anew: Vec<_> = (0..6)
        .map(|_| {
            let entry = keys.link(&head, &other, &SecurityEvent::new(SecurityEventKind::KeyPromoted));
            head = entry.head();
            entry
        })
        .collect();
    assert_eq!(verify(&keys, &anew, &[], &head), Ok(()));
    assert_eq!(verify(&keys, &anew, &[earlier], &head), Err((4, Fault::Replaced)));
}

// KEY-07
#[test]
fn a_chain_holds_across_a_change_of_the_master_key_and_not_without_its_keys() {
    let (old, new) = (keys(&[1]), keys(&[2, 1]));
    let mut entries = chain(&old, Chain::Site, 2);
    for _ in 0..2 {
        let last = entries[entries.len() - 1].head();
        entries.push(new.link(&last, &act(), &SecurityEvent::new(SecurityEventKind::KeyReencrypted)));
    }
    let noted = entries[3].head();
    assert_eq!(verify(&new, &entries, &[], &noted), Ok(()));
    assert_eq!(verify(&old, &entries, &[], &noted), Err((3, Fault::UnknownKey)));
    assert_eq!(verify(&keys(&[2]), &entries, &[], &noted), Err((1, Fault::UnknownKey)));
    // Whoever has no key makes links with the one that everybody knows: no server takes them for its own.
    let forged = chain(&AuditKeys::insecure_without_key(), Chain::Site, 4);
    assert_eq!(verify(&new, &forged, &[], &forged[3].head()), Err((1, Fault::UnknownKey)));
    assert!(AuditKeys::insecure_without_key().are_known_to_everybody() && !new.are_known_to_everybody());
    assert!(!format!("{new:?}").contains("[2, 2"));
}

#[test]
fn the_same_entries_are_others_in_another_chain() {
    let keys = keys(&[1]);
    let org = Chain::Org(OrgId::from_uuid(Uuid::from_u128(7)));
    let (site, theirs) = (chain(&keys, Chain::Site, 1), chain(&keys, org, 1));
    assert_ne!(site[0].hash, theirs[0].hash);
    assert_ne!(site[0].id(), theirs[0].id());
    assert_eq!(site[0].id().get_version_num(), 7);
    for chain in [Chain::Site, org] {
        assert_eq!(chain.to_string().parse(), Ok(chain));
    }
}

#[test]
fn no_two_entries_have_the_same_canonical_form() {
    let entry = &chain(&keys(&[1]), Chain::Site, 1)[0];
    let with = |target_kind: Option<&str>, target_id: Option<&str>| Entry {
        target_kind: target_kind.map(str::to_owned),
        target_id: target_id.map(str::to_owned),
        ..entry.clone()
    };
    let forms = [
        with(None, None),
        with(Some(""), None),
        with(None, Some("")),
        with(Some("ab"), Some("c")),
        with(Some("a"), Some("bc")),
        with(Some("abc"), Some("")),
        with(Some("abc"), None),
    ]
    .map(|entry| entry.canonical());
    for (index, form) in forms.iter().enumerate() {
        assert!(!forms[..index].contains(form), "{index}");
    }
}

#[test]
fn an_entry_tells_who_did_what_to_whom() {
    let (user, token) = (UserId::from_uuid(Uuid::from_u128(1)), Id::from_uuid(Uuid::from_u128(2)));
    let event = SecurityEvent::new(SecurityEventKind::TokenRevoked)
        .of(user)
        .on(crate::identity::ApiTokenId::from_uuid(Id::<()>::as_uuid(&token)))
        .with("reason", "cap");
    let entry = keys(&[1]).link(&Head::genesis(Chain::Site), &act(), &event);
    let mut told = entry.to_json();
    assert_eq!(told["id"].as_str().map(str::len), Some(36));
    told.as_object_mut().unwrap().remove("id");
    let expected = serde_json::json!({
        "sequence": 1,
        "event": "authn_token_revoked",
        "at": "2023-11-14T22:13:20.000000Z",
        "actor": { "kind": "operator", "id": null, "name": "ann" },
        "target": { "kind": "token", "id": "00000000-0000-0000-0000-000000000002" },
        "request_id": null,
        "remote_addr": null,
        "outcome": "success",
        "details": { "reason": "cap", "user_id": "00000000-0000-0000-0000-000000000001" },
    });
    assert_eq!(told, expected);
    assert_eq!(event.credential_id(), Some(Uuid::from_u128(2)));
}

/// Writes down what it hears.
#[derive(Debug, Default)]
struct Hearer(Mutex<Vec<(SecurityEventKind, Option<String>)>>);

impl Witness for Hearer {
    fn hear(&self, event: &SecurityEvent, request_id: Option<&str>, _: Option<IpAddr>) {
        self.0.lock().unwrap().push((event.kind, request_id.map(str::to_owned)));
    }
}

#[test]
fn every_witness_hears_at_once_what_an_act_records_and_what_is_kept_is_appended_once() {
    let [first, second] = [(); 2].map(|()| Arc::new(Hearer::default()));
    let noted = Noted::by([Arc::clone(&first) as Arc<dyn Witness>]);
    noted.add_witness(Arc::clone(&second) as Arc<dyn Witness>);
    let act = act().noted_in(noted.clone());
    act.recorded(&[SecurityEvent::new(SecurityEventKind::UserCreated)]);
    act.clone().unnoted().recorded(&[SecurityEvent::new(SecurityEventKind::UserDisabled)]);
    let heard = [(SecurityEventKind::UserCreated, act.request_id.as_deref().map(str::to_owned))];
    assert_eq!(*first.0.lock().unwrap(), heard);
    assert_eq!(*second.0.lock().unwrap(), heard);

    noted.keep(SecurityEvent::new(SecurityEventKind::LoginFail));
    assert_eq!(noted.take_to_append().len(), 1);
    assert!(noted.take_to_append().is_empty());
}
