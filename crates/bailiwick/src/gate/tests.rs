use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    routing::{MethodRouter, get},
};
use bailiwick_core::{
    access::{List, Retrieve, Rules, Update, own, role},
    audit::Act,
    clock::{Clock, Timestamp},
    id::Id,
    identity::{
        Credential, FoundMembership, Membership, OrgId, Principal, PrincipalParts, Role, Scopes, UserId,
    },
    request::Facts,
    secret::Secret,
    store::{Directory, NewOrg, NewUser, Store},
};
use bailiwick_macros::Model;
use bailiwick_store::{OpenOptions, refinery::Runner};
use bailiwick_testkit::{
    FakeClock, Fault, FaultyStore, Operation, SeededEntropy, audit_keys,
    databases::{FreshSqlite, fresh_sqlite},
};
use http::{Request, Response};
use tower::ServiceExt;

use super::{Access, Anyone, Authenticated, Context, Guarded, TenantMember};
use crate::problem::Problem;
use bailiwick_testkit::act;

#[derive(Model)]
#[model(table = "notes", scope = Org)]
struct Note {
    #[model(id)]
    id: Id<Note>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(owner)]
    created_by: UserId,
}

impl Guarded for Note {
    fn rules() -> Rules<Self> {
        Rules::deny_all()
            .allow::<List>(role(Role::Viewer))
            .allow::<Update>(role(Role::Admin).or(role(Role::Member).and(own())))
    }
}

/// Two organisations and a member of one.
struct World {
    store: FaultyStore,
    clock: FakeClock,
    ann: Principal,
    acme: OrgId,
    _database: FreshSqlite,
}

impl World {
    async fn new(role: Role) -> Self {
        let database = fresh_sqlite();
        let options = OpenOptions::default();
        bailiwick_store::migrate(&database.url(), &options, &Runner::new(&[]), &[]).await.unwrap();
        let opened = bailiwick_store::open(&database.url(), &options, audit_keys()).await;
        let store = FaultyStore::new(opened.unwrap());
        let (clock, entropy) = (FakeClock::new(), SeededEntropy::new(1));
        let mut ids: Vec<UserId> = Vec::new();
        for name in ["ann", "owner"] {
            let user = NewUser {
                id: Id::new(&clock, &entropy),
                username: name.parse().unwrap(),
                email: String::new(),
                password_hash: Secret::new("x".to_owned()),
                is_staff: false,
                created_at: clock.now(),
            };
            ids.push(user.id);
            store.create_user(user, act()).await.unwrap();
        }
        let mut orgs: Vec<OrgId> = Vec::new();
        for slug in ["acme", "globex"] {
            let id = Id::new(&clock, &entropy);
            orgs.push(id);
            let slug = slug.parse().unwrap();
            let org = NewOrg { id, slug, name: String::new(), owner: ids[1], created_at: clock.now() };
            store.create_org(org, act()).await.unwrap();
        }
        store
            .put_member(&"acme".parse().unwrap(), &"ann".parse().unwrap(), role, Act::system(clock.now()))
            .await
            .unwrap();
        let ann = Principal::new(PrincipalParts {
            user_id: ids[0],
            username: "ann".to_owned(),
            email: String::new(),
            is_staff: false,
            service_of: None,
            created_at: clock.now(),
            credential: Credential::ApiToken(Id::new(&clock, &entropy)),
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        });
        Self { store, clock, ann, acme: orgs[0], _database: database }
    }

    fn context(&self) -> Context {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let mut context = Context::new(store);
        context.guard::<Note>();
        context
    }

    /// The answer of a handler at `template` to a request for `path`, which `prepare` has touched.
    async fn ask(
        &self,
        template: &str,
        handler: MethodRouter<Context>,
        path: &str,
        prepare: impl FnOnce(&mut Request<Body>),
    ) -> (u16, Facts) {
        let router: Router = Router::new().route(template, handler).with_state(self.context());
        let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let facts = Facts::new();
        request.extensions_mut().insert(facts.clone());
        prepare(&mut request);
        let response: Response<Body> = router.oneshot(request).await.unwrap();
        let problem = response.extensions().get::<Problem>().map(|problem| problem.status().as_u16());
        assert_eq!(problem.unwrap_or(200), response.status().as_u16());
        (response.status().as_u16(), facts)
    }

    /// The same, asked by ann.
    async fn ask_as_ann(&self, template: &str, handler: MethodRouter<Context>, path: &str) -> (u16, Facts) {
        self.ask(template, handler, path, |request| {
            request.extensions_mut().insert(self.ann.clone());
        })
        .await
    }
}

const TEMPLATE: &str = "/orgs/{org}/notes/";

fn list() -> MethodRouter<Context> {
    get(async |_: Access<Note, List>| ())
}

fn update() -> MethodRouter<Context> {
    get(async |_: Access<Note, Update>| ())
}

// ERR-55, ACL-03
#[tokio::test]
async fn a_gate_opens_to_members_whose_role_allows_it() {
    for (role, may_update) in
        [(Role::Viewer, 403), (Role::Member, 200), (Role::Admin, 200), (Role::Owner, 200)]
    {
        let world = World::new(role).await;
        assert_eq!(world.ask(TEMPLATE, list(), "/orgs/acme/notes/", |_| {}).await.0, 401);
        assert_eq!(world.ask(TEMPLATE, list(), "/orgs/nowhere/notes/", |_| {}).await.0, 401);
        let (status, facts) = world.ask_as_ann(TEMPLATE, list(), "/orgs/acme/notes/").await;
        assert_eq!((status, facts.org(), facts.denied_by()), (200, Some("acme"), None));
        let (status, facts) = world.ask_as_ann(TEMPLATE, update(), "/orgs/acme/notes/").await;
        let denied_by = (may_update == 403).then_some("notes.update");
        assert_eq!((status, facts.denied_by()), (may_update, denied_by), "{role}");
        for path in
            ["/orgs/globex/notes/", "/orgs/nowhere/notes/", "/orgs/ACME/notes/", "/orgs/%61cme/notes/"]
        {
            let (status, facts) = world.ask_as_ann(TEMPLATE, list(), path).await;
            assert_eq!((status, facts.org(), facts.denied_by()), (404, None, Some("membership")), "{path}");
        }
    }
}

#[tokio::test]
async fn what_no_rule_allows_is_forbidden_to_everyone() {
    let world = World::new(Role::Owner).await;
    let retrieve = get(async |_: Access<Note, Retrieve>| ());
    assert_eq!(world.ask_as_ann(TEMPLATE, retrieve, "/orgs/acme/notes/").await.0, 403);
}

#[tokio::test]
async fn the_proof_says_who_and_where() {
    let world = World::new(Role::Admin).await;
    let (ann, acme) = (world.ann.user_id(), world.acme);
    let check = get(async move |access: Access<Note, List>| {
        assert_eq!(access.principal().user_id(), ann);
        assert_eq!((access.org_id(), access.role()), (Some(acme), Some(Role::Admin)));
    });
    assert_eq!(world.ask_as_ann(TEMPLATE, check, "/orgs/acme/notes/").await.0, 200);
}

// A place that was found on the way counts for the organisation it was found in, and for no other.
#[tokio::test]
async fn a_place_that_was_found_before_is_believed_for_its_organisation_alone() {
    let world = World::new(Role::Viewer).await;
    let owner = Membership::from_store(world.acme, Role::Owner);
    let of = |user_id, slug: &str, membership| FoundMembership { user_id, slug: slug.into(), membership };
    let found = |slug: &str, membership| of(world.ann.user_id(), slug, membership);
    let someone = Id::from_uuid(uuid::Uuid::max());
    for (place, path, status, looks) in [
        (found("acme", Some(owner)), "/orgs/acme/notes/", 200, 0),
        (found("acme", None), "/orgs/acme/notes/", 404, 0),
        (found("acme", Some(owner)), "/orgs/globex/notes/", 404, 1),
        (found("globex", Some(owner)), "/orgs/acme/notes/", 403, 1),
        (found("", Some(owner)), "/orgs/acme/notes/", 403, 1),
        (of(someone, "acme", Some(owner)), "/orgs/acme/notes/", 403, 1),
    ] {
        let before = world.store.calls(Operation::Membership);
        let answer = world.ask(TEMPLATE, update(), path, |request| {
            request.extensions_mut().insert(world.ann.clone());
            request.extensions_mut().insert(place.clone());
        });
        assert_eq!(answer.await.0, status, "{place:?} {path}");
        assert_eq!(world.store.calls(Operation::Membership) - before, looks, "{place:?} {path}");
    }
    // And it is nobody's who has no credential.
    let answer = world.ask(TEMPLATE, list(), "/orgs/acme/notes/", |request| {
        request.extensions_mut().insert(found("acme", Some(owner)));
    });
    assert_eq!(answer.await.0, 401);
}

// ACL-09
#[tokio::test]
async fn a_change_of_role_acts_on_the_next_request() {
    let world = World::new(Role::Viewer).await;
    let (slug, name) = ("acme".parse().unwrap(), "ann".parse().unwrap());
    for (role, status) in [(Role::Admin, 200), (Role::Viewer, 403), (Role::Member, 200)] {
        world.clock.advance(Duration::from_secs(1));
        world.store.put_member(&slug, &name, role, Act::system(world.clock.now())).await.unwrap();
        assert_eq!(world.ask_as_ann(TEMPLATE, update(), "/orgs/acme/notes/").await.0, status, "{role}");
    }
    world.store.remove_member(&slug, &name, act()).await.unwrap();
    assert_eq!(world.ask_as_ann(TEMPLATE, update(), "/orgs/acme/notes/").await.0, 404);
}

// I9
#[tokio::test]
async fn a_gate_that_cannot_decide_stays_shut() {
    let world = World::new(Role::Owner).await;
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::Refused] {
        world.store.fail_all(Operation::Membership, fault);
        for path in ["/orgs/acme/notes/", "/orgs/nowhere/notes/"] {
            assert_eq!(world.ask_as_ann(TEMPLATE, list(), path).await.0, 503);
            let member = get(async |_: TenantMember| ());
            assert_eq!(world.ask_as_ann(TEMPLATE, member, path).await.0, 503);
        }
    }
}

#[tokio::test]
async fn a_route_that_names_no_organisation_lets_nobody_in() {
    let world = World::new(Role::Owner).await;
    for template in ["/notes/", "/orgs/{organisation}/notes/"] {
        let path = template.replace("{organisation}", "acme");
        assert_eq!(world.ask_as_ann(template, list(), &path).await.0, 500, "{template}");
    }
}

#[tokio::test]
async fn the_other_gates_ask_for_a_credential_a_membership_or_nothing() {
    let world = World::new(Role::Viewer).await;
    let authenticated =
        || get(async |Authenticated(principal): Authenticated| assert_eq!(principal.username, "ann"));
    assert_eq!(world.ask("/x", authenticated(), "/x", |_| {}).await.0, 401);
    assert_eq!(world.ask_as_ann("/x", authenticated(), "/x").await.0, 200);

    let nobody = get(async |Anyone(principal): Anyone| assert!(principal.is_none()));
    assert_eq!(world.ask("/x", nobody, "/x", |_| {}).await.0, 200);
    let ann = get(async |Anyone(principal): Anyone| assert_eq!(principal.unwrap().username, "ann"));
    assert_eq!(world.ask_as_ann("/x", ann, "/x").await.0, 200);

    let member = || get(async |member: TenantMember| assert_eq!(member.membership.role(), Role::Viewer));
    assert_eq!(world.ask(TEMPLATE, member(), "/orgs/acme/notes/", |_| {}).await.0, 401);
    assert_eq!(world.ask_as_ann(TEMPLATE, member(), "/orgs/acme/notes/").await.0, 200);
    assert_eq!(world.ask_as_ann(TEMPLATE, member(), "/orgs/globex/notes/").await.0, 404);
}
