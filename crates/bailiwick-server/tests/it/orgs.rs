//! Organisations, their members, and oneself.
use bailiwick::identity::Role;
use serde_json::{Value, json};

use crate::support::{self, error};

#[tokio::test]
async fn me_is_who_asks_and_where_they_belong() {
    let app = support::start().await;
    let both = app.person("Both", &[("acme", Role::Viewer), ("globex", Role::Admin)]).await;
    let me = both.get("/me/").await.expect(200);
    assert_eq!(
        me.json(),
        json!({
            "id": both.id(),
            "username": "Both",
            "email": "Both@example.com",
            "is_staff": false,
            "created_at": "2026-01-01T00:00:00.000000Z",
            "orgs": [
                {"slug": "acme", "name": "The acme company", "role": "viewer"},
                {"slug": "globex", "name": "The globex company", "role": "admin"},
            ],
        })
    );
    let alone = app.person("alone", &[]).await;
    assert_eq!(alone.get("/me/").await.expect(200).json()["orgs"], json!([]));
}

#[tokio::test]
async fn me_names_every_organisation_however_many() {
    let app = support::start().await;
    for number in 0..120 {
        let body = json!({"slug": format!("org-{number:03}"), "name": "One of many"});
        app.member().post("/orgs/", body).await.expect(201);
    }
    let me = app.member().get("/me/").await.expect(200).json();
    let slugs: Vec<_> =
        me["orgs"].as_array().unwrap().iter().map(|org| org["slug"].as_str().unwrap()).collect();
    assert_eq!(slugs.len(), 121);
    assert!(slugs.is_sorted() && slugs[0] == "acme" && slugs[120] == "org-119", "{slugs:?}");
}

#[tokio::test]
async fn whoever_founds_an_organisation_owns_it() {
    let app = support::start().await;
    let founder = app.person("founder", &[]).await;
    let made = founder.post("/orgs/", json!({"slug": "new-1", "name": "Néw & <b>"})).await.expect(201);
    assert_eq!(made.header("location"), Some("http://localhost/api/v1/orgs/new-1/"));
    assert!(made.header("etag").unwrap().starts_with("\"v1-"));
    let org = made.json();
    assert_eq!((&org["slug"], &org["name"]), (&json!("new-1"), &json!("Néw & <b>")));
    assert_eq!(org["created_at"], "2026-01-01T00:00:00.000000Z");
    let read = founder.get(made.header("location").unwrap()).await.expect(200);
    assert_eq!((read.text(), read.header("etag")), (made.text(), made.header("etag")));
    let members = founder.get("/orgs/new-1/members/").await.expect(200).json();
    assert_eq!(members["count"], 1);
    let owner = &members["results"][0];
    assert_eq!((&owner["user"]["id"], &owner["role"]), (&json!(founder.id()), &json!("owner")));
    founder.post("/orgs/new-1/tasks/", json!({"title": "x"})).await.expect(201);
    // It is nobody else's.
    app.owner().get("/orgs/new-1/").await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_slug_that_is_taken_is_409_whosever_it_is() {
    let app = support::start().await;
    for slug in ["acme", "globex"] {
        for person in [app.owner(), app.other_tenant()] {
            let refused = person.post("/orgs/", json!({"slug": slug, "name": "Mine"})).await;
            refused.expect_problem(409, "conflict");
        }
    }
    let name = app.owner().get("/orgs/acme/").await.expect(200).json()["name"].clone();
    assert_eq!(name, "The acme company");
    app.other_tenant().get("/orgs/acme/").await.expect(404);
    // Of many at once, one gets it.
    let mut founders = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let member = app.member();
        founders.spawn(async move {
            member.post("/orgs/", json!({"slug": "wanted", "name": "W"})).await.status().as_u16()
        });
    }
    let mut statuses = founders.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_slug_or_a_name_that_cannot_be_one_is_422() {
    let app = support::start().await;
    let owner = app.owner();
    let long = "a".repeat(51);
    for slug in ["", "-a", "a-", "A", "a_b", "a b", "a/b", "..", "é", "a\n", long.as_str()] {
        let refused = owner.post("/orgs/", json!({"slug": slug, "name": "N"})).await;
        let refused = refused.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error("#/slug", "invalid-format")], "{slug:?}");
    }
    for (name, code) in [
        ("", "too-short"),
        ("   ", "too-short"),
        ("a\u{2060}b", "invalid-character"),
        (&"n".repeat(101), "too-long"),
        ("a\nb", "invalid-character"),
        ("a\u{1b}[31mb", "invalid-character"),
        ("a\u{202e}b", "invalid-character"),
        ("a\u{2069}b", "invalid-character"),
    ] {
        let refused = owner.post("/orgs/", json!({"slug": "new", "name": name})).await;
        assert_eq!(refused.expect_problem(422, "validation-failed").errors(), [error("#/name", code)]);
    }
    for field in ["id", "owner", "role", "created_at", "version", "org_id"] {
        let refused = owner.post("/orgs/", json!({"slug": "new", "name": "N", field: 1})).await;
        let pointer = format!("#/{field}");
        assert_eq!(
            refused.expect_problem(422, "validation-failed").errors(),
            [error(&pointer, "unknown-field")]
        );
    }
    assert_eq!(owner.get("/orgs/").await.expect(200).json()["count"], 1);
    owner.post("/orgs/", json!({"slug": "a".repeat(50), "name": "n".repeat(100)})).await.expect(201);
}

#[tokio::test]
async fn the_list_of_organisations_is_the_callers() {
    let app = support::start().await;
    let both = app.person("both", &[("acme", Role::Viewer), ("globex", Role::Admin)]).await;
    let list = both.get("/orgs/").await.expect(200).json();
    assert_eq!((&list["count"], &list["next"], &list["previous"]), (&json!(2), &Value::Null, &Value::Null));
    let roles: Vec<_> =
        list["results"].as_array().unwrap().iter().map(|org| (&org["slug"], &org["role"])).collect();
    assert_eq!(roles, [(&json!("acme"), &json!("viewer")), (&json!("globex"), &json!("admin"))]);
    let turned = both.get("/orgs/?ordering=-slug&page_size=1").await.expect(200).json();
    assert_eq!((&turned["results"][0]["slug"], &turned["count"]), (&json!("globex"), &json!(2)));
    assert_eq!(turned["next"], "http://localhost/api/v1/orgs/?ordering=-slug&page_size=1&page=2");
    both.get("/orgs/?user_id=1").await.expect_problem(422, "validation-failed");
    assert_eq!(app.other_tenant().get("/orgs/").await.expect(200).json()["count"], 1);
    app.remove_member("acme", &both).await;
    assert_eq!(both.get("/orgs/").await.expect(200).json()["count"], 1);
}

// ACL-14: a member's address is not the others' to see.
#[tokio::test]
async fn members_see_each_other_by_name_and_role_alone() {
    let app = support::start().await;
    let list = app.viewer().get("/orgs/acme/members/").await.expect(200);
    assert!(!list.text().contains("@example.com"), "{}", list.text());
    let list = list.json();
    assert_eq!(list["count"], 4);
    let mut names = Vec::new();
    for member in list["results"].as_array().unwrap() {
        let keys: Vec<_> = member.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["joined_at", "role", "user"]);
        let keys: Vec<_> = member["user"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "username"]);
        assert_eq!(member["user"]["username"], member["role"]);
        names.push(member["role"].as_str().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["admin", "member", "owner", "viewer"]);
    let mut seen = Vec::new();
    for page in 1..=4 {
        let list = app
            .viewer()
            .get(&format!("/orgs/acme/members/?page_size=1&page={page}"))
            .await
            .expect(200)
            .json();
        seen.push(list["results"][0]["user"]["id"].as_str().unwrap().to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
    app.viewer().get("/orgs/acme/members/?search=a").await.expect_problem(422, "validation-failed");
    app.viewer().get("/orgs/acme/members/?username=owner").await.expect_problem(422, "validation-failed");
}
