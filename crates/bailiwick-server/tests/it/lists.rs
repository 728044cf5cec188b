//! Lists: pages, filters, order and search.
use std::time::Duration;

use bailiwick_testkit::{Person, Reply, TestApp};
use serde_json::{Value, json};

use crate::support::{self, NOBODY, TASKS, Tasks, error, titles};

/// `count` tasks, a second apart, called 001, 002 and so on.
async fn numbered(app: &TestApp, count: usize) {
    for number in 1..=count {
        app.owner().task(json!({"title": format!("{number:03}")})).await;
        app.clock().advance(Duration::from_secs(1));
    }
}

async fn page(person: &Person, query: &str) -> Reply {
    person.get(&format!("{TASKS}?{query}")).await
}

// PAG-01, PAG-04
#[tokio::test]
async fn a_page_has_the_size_that_was_asked_for_up_to_the_cap() {
    let app = support::start().await;
    numbered(&app, 103).await;
    let viewer = app.viewer();
    for (query, rows) in [
        ("", 25),
        ("page_size=1", 1),
        ("page_size=100", 100),
        ("page_size=101", 100),
        ("page_size=999999", 100),
        ("page_size=9223372036854775808", 100),
        ("page_size=99999999999999999999999999", 100),
        ("page_size=007", 7),
        ("page_size=7&page=2", 7),
        ("page_size=100&page=2", 3),
        ("page=5", 3),
    ] {
        let page = page(&viewer, query).await.expect(200);
        assert_eq!((titles(&page).len(), &page.json()["count"]), (rows, &json!(103)), "{query}");
    }
    for wrong in [
        "0",
        "-1",
        "abc",
        "1e3",
        "+1",
        "1.0",
        "1_0",
        "0x10",
        "",
        "%20",
        "%207%20",
        "7%20",
        "%EF%BC%97",
        "%00",
        "7%00",
        "null",
        "10,20",
        "%FF",
    ] {
        let refused =
            page(&viewer, &format!("page_size={wrong}")).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error("page_size", "invalid-type")], "{wrong}");
    }
}

#[tokio::test]
async fn a_page_above_the_cap_is_refused_where_the_setting_says_so() {
    let app = support::with(&[
        ("pagination.over_limit", "reject"),
        ("pagination.max_size", "3"),
        ("pagination.default_size", "2"),
    ])
    .await;
    numbered(&app, 5).await;
    let viewer = app.viewer();
    assert_eq!(titles(&page(&viewer, "").await.expect(200)).len(), 2);
    assert_eq!(titles(&page(&viewer, "page_size=3").await.expect(200)).len(), 3);
    for above in ["4", "999999", "9223372036854775808", "99999999999999999999999999"] {
        let refused =
            page(&viewer, &format!("page_size={above}")).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error("page_size", "too-large")]);
        assert_eq!(refused.json()["errors"][0]["detail"], "at most 3");
    }
}

// PAG-02
#[tokio::test]
async fn a_page_that_is_not_there_is_404_and_the_first_of_nothing_is_empty() {
    let app = support::start().await;
    let viewer = app.viewer();
    let empty = json!({"count": 0, "next": null, "previous": null, "results": []});
    for query in ["", "page=1", "page=001", "search=nothing", "status=done"] {
        assert_eq!(page(&viewer, query).await.expect(200).json(), empty, "{query}");
    }
    page(&viewer, "page=2").await.expect_problem(404, "not-found");
    numbered(&app, 25).await;
    page(&viewer, "page=1").await.expect(200);
    for wrong in [
        "2",
        "0",
        "-1",
        "abc",
        "1e3",
        "last",
        "",
        "%201",
        "1%20",
        "1.0",
        "%EF%BC%91",
        "999999",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "99999999999999999999999999",
    ] {
        page(&viewer, &format!("page={wrong}")).await.expect_problem(404, "not-found");
    }
    page(&viewer, "page=9223372036854775807&page_size=100").await.expect_problem(404, "not-found");
    // What else is wrong is told first: it can be corrected.
    page(&viewer, "page=abc&nonsense=1").await.expect_problem(422, "validation-failed");
}

// PAG-10, RFC 8288
#[tokio::test]
async fn links_lead_through_the_whole_list_and_back_without_loss() {
    let app = support::start().await;
    numbered(&app, 23).await;
    for (start, expected) in
        [("page_size=5", 23), ("page_size=4&ordering=title&search=0", 23), ("search=01&page_size=3", 11)]
    {
        let mut url = format!("http://localhost/api/v1{TASKS}?{start}");
        let (mut seen, mut pages): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
        loop {
            let page = app.viewer().get(&url).await.expect(200);
            seen.extend(titles(&page));
            let body = page.json();
            assert_eq!(body["count"], expected);
            let link =
                |relation: &str, url: &Value| url.as_str().map(|url| format!("<{url}>; rel=\"{relation}\""));
            let links: Vec<_> = [link("next", &body["next"]), link("prev", &body["previous"])]
                .into_iter()
                .flatten()
                .collect();
            assert_eq!(page.header("link").unwrap_or_default(), links.join(", "));
            pages.push(body.clone());
            match body["next"].as_str() {
                Some(next) => url = next.to_owned(),
                None => break,
            }
        }
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!((seen.len(), once.len()), (expected, expected), "{seen:?}");
        // And back again.
        for number in (0..pages.len()).rev() {
            match (number, pages[number]["previous"].as_str()) {
                (0, previous) => assert_eq!(previous, None),
                (_, previous) => {
                    let previous = app.viewer().get(previous.unwrap()).await.expect(200).json();
                    assert_eq!(previous["results"], pages[number - 1]["results"]);
                }
            }
        }
    }
}

// PAG-01
#[tokio::test]
async fn the_link_to_the_first_page_names_no_page_and_all_links_keep_the_query() {
    let app = support::start().await;
    numbered(&app, 5).await;
    let viewer = app.viewer();
    let base = "http://localhost/api/v1/orgs/acme/tasks/";
    let second = page(&viewer, "page=2&page_size=2&status=todo&search=0%20").await.expect(200).json();
    assert_eq!(second["next"], format!("{base}?page_size=2&status=todo&search=0%20&page=3"));
    assert_eq!(second["previous"], format!("{base}?page_size=2&status=todo&search=0%20"));
    // The canonical form, whatever was asked.
    let bare = viewer.get("/orgs/acme/tasks?page_size=2").await.expect(200).json();
    assert_eq!(bare["next"], format!("{base}?page_size=2&page=2"));
}

// HST-05
#[tokio::test]
async fn links_begin_with_the_public_url_where_it_is_set() {
    let app = support::with(&[("server.public_url", "https://api.example.com:8443")]).await;
    numbered(&app, 3).await;
    let base = "https://api.example.com:8443/api/v1/orgs/acme/tasks/";
    let first = page(&app.viewer(), "page_size=2").await.expect(200);
    assert_eq!(first.json()["next"], format!("{base}?page_size=2&page=2"));
    let made = app.owner().post(TASKS, json!({"title": "x"})).await.expect(201);
    assert_eq!(made.header("location"), Some(format!("{base}{}/", made.id()).as_str()));
}

/// Four tasks that differ in everything that can be filtered, and two made by others.
async fn varied(app: &TestApp) {
    let (owner, member) = (app.owner(), app.member());
    for (person, body) in [
        (
            &owner,
            json!({"title": "a", "status": "todo", "priority": "low", "due_at": "2026-02-01T00:00:00Z"}),
        ),
        (&owner, json!({"title": "b", "status": "doing", "priority": "urgent", "assignee": member.id()})),
        (
            &member,
            json!({"title": "c", "status": "done", "priority": "normal", "due_at": "2026-02-02T00:00:00Z"}),
        ),
        (&member, json!({"title": "d", "status": "todo", "priority": "high", "assignee": owner.id()})),
    ] {
        person.task(body).await;
        app.clock().advance(Duration::from_secs(1));
    }
    let other = app.other_tenant();
    other.post("/orgs/globex/tasks/", json!({"title": "hidden", "assignee": other.id()})).await.expect(201);
}

#[tokio::test]
async fn every_declared_filter_selects() {
    let app = support::start().await;
    varied(&app).await;
    let (owner, member) = (app.owner().id(), app.member().id());
    for (query, expected) in [
        ("status=todo".to_owned(), "ad"),
        ("status=done".to_owned(), "c"),
        ("status__in=doing,done".to_owned(), "bc"),
        ("status__in=todo".to_owned(), "ad"),
        ("status__in=todo,todo".to_owned(), "ad"),
        ("priority=urgent".to_owned(), "b"),
        ("priority__in=high,urgent,low".to_owned(), "abd"),
        (format!("assignee={member}"), "b"),
        (format!("assignee={owner}"), "d"),
        (format!("created_by={owner}"), "ab"),
        (format!("created_by={member}"), "cd"),
        ("due_at=2026-02-01T00:00:00Z".to_owned(), "a"),
        ("due_at=2026-02-01T01:00:00%2B01:00".to_owned(), "a"),
        ("due_at__gte=2026-02-01T00:00:00.000001Z".to_owned(), "c"),
        ("due_at__lte=2026-02-02T00:00:00Z".to_owned(), "ac"),
        ("due_at__gte=2026-02-02T00:00:00Z&due_at__lte=2026-02-02T00:00:00Z".to_owned(), "c"),
        ("created_at=2026-01-01T00:00:01Z".to_owned(), "b"),
        ("created_at__gte=2026-01-01T00:00:02Z".to_owned(), "cd"),
        ("created_at__lte=2026-01-01T00:00:00Z".to_owned(), "a"),
        (format!("status=todo&priority=high&created_by={member}"), "d"),
        ("status=done&priority=urgent".to_owned(), ""),
        // PAG-13: another tenant's user is like one who does not exist.
        (format!("assignee={}", app.other_tenant().id()), ""),
        (format!("assignee={NOBODY}"), ""),
        (format!("created_by={}", app.other_tenant().id()), ""),
    ] {
        let list = page(&app.viewer(), &format!("{query}&ordering=title")).await.expect(200);
        assert_eq!(titles(&list).concat(), expected, "{query}");
        assert_eq!(list.json()["count"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn a_filter_with_a_value_that_does_not_fit_is_422_and_says_what_does() {
    let app = support::start().await;
    for (query, code) in [
        ("status=open", "invalid-choice"),
        ("status=TODO", "invalid-choice"),
        ("status=", "invalid-choice"),
        ("status=todo,done", "invalid-choice"),
        ("status__in=todo,open", "invalid-choice"),
        ("status__in=", "invalid-choice"),
        ("status__in=todo,", "invalid-choice"),
        ("priority=1", "invalid-choice"),
        ("priority__in=low,%20high", "invalid-choice"),
        ("assignee=me", "invalid-format"),
        ("assignee=", "invalid-format"),
        ("assignee=null", "invalid-format"),
        ("assignee=01890A5D-AC96-774B-BCCE-B302099A8057", "invalid-format"),
        ("created_by=1", "invalid-format"),
        ("due_at=tomorrow", "invalid-format"),
        ("due_at=2026-01-01", "invalid-format"),
        ("due_at__gte=2026-02-30T00:00:00Z", "invalid-format"),
        // A plus that was not escaped is a space.
        ("due_at__lte=2026-02-01T01:00:00+01:00", "invalid-format"),
        ("created_at=0", "invalid-format"),
        ("created_at__gte=%00", "invalid-format"),
        ("created_at__lte=", "invalid-format"),
    ] {
        let refused = page(&app.viewer(), query).await.expect_problem(422, "validation-failed");
        let name = query.split('=').next().unwrap();
        assert_eq!(refused.errors(), [error(name, code)], "{query}");
    }
    let choices = page(&app.viewer(), "status=open").await.json()["errors"][0]["detail"].clone();
    assert_eq!(choices, "must be one of todo, doing, done");
}

// PAG-11, PAG-12, PAG-14
#[tokio::test]
async fn a_parameter_that_is_not_declared_is_422_and_says_which_are() {
    let app = support::start().await;
    for name in [
        "nonsense",
        "Status",
        "title",
        "description",
        "id",
        "org_id",
        "version",
        "updated_by",
        "updated_at",
        "limit",
        "offset",
        "cursor",
        "format",
        "status__gte",
        "assignee__in",
        "title__contains",
        "created_by__username",
        "assignee__",
        "__in",
        "status__in__in",
        "due_at__in",
        "",
        "%00",
        "sta%74us2",
    ] {
        let refused =
            page(&app.viewer(), &format!("{name}=1")).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors().len(), 1, "{name}");
        assert_eq!(refused.errors()[0].1, "unknown-parameter", "{name}");
        let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert_eq!(
            detail,
            "not accepted here; accepted are page, page_size, ordering, search, status, status__in, priority, \
             priority__in, assignee, due_at, due_at__gte, due_at__lte, created_by, created_at, created_at__gte, \
             created_at__lte",
            "{name}"
        );
    }
    for (query, name) in [
        ("page=1&page=1", "page"),
        ("page_size=1&page_size=2", "page_size"),
        ("status=todo&status=done", "status"),
        ("status=todo&sta%74us=done", "status"),
        ("search=a&search=b", "search"),
        ("ordering=title&ordering=title", "ordering"),
    ] {
        let refused = page(&app.viewer(), query).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error(name, "repeated")], "{query}");
    }
    // All at once.
    let many =
        page(&app.viewer(), "x=1&status=open&page_size=0").await.expect_problem(422, "validation-failed");
    assert_eq!(
        many.errors(),
        [
            error("x", "unknown-parameter"),
            error("status", "invalid-choice"),
            error("page_size", "invalid-type")
        ]
    );
    let flood = (0..101).map(|number| format!("p{number}=1")).collect::<Vec<_>>().join("&");
    page(&app.viewer(), &flood).await.expect_problem(400, "malformed-request");
}

#[tokio::test]
async fn a_list_is_ordered_as_asked_enumerations_by_rank_nulls_last_and_ties_by_id() {
    let app = support::start().await;
    let owner = app.owner();
    for (title, priority, due_at) in [
        ("b", "high", Some("2026-03-01T00:00:00Z")),
        ("a", "low", None),
        ("d", "urgent", Some("2026-01-01T00:00:00Z")),
        ("c", "normal", Some("2026-02-01T00:00:00Z")),
        ("e", "normal", None),
    ] {
        owner.task(json!({"title": title, "priority": priority, "due_at": due_at})).await;
        app.clock().advance(Duration::from_secs(1));
    }
    owner.patch(&format!("{TASKS}{}/", first_id(&owner, "a").await), json!({"title": "a"})).await.expect(200);
    for (ordering, expected) in [
        ("", "ecdab"),
        ("ordering=-created_at", "ecdab"),
        ("ordering=created_at", "badce"),
        ("ordering=title", "abcde"),
        ("ordering=-title", "edcba"),
        ("ordering=priority", "acebd"),
        ("ordering=-priority", "dbeca"),
        ("ordering=due_at", "dcbae"),
        ("ordering=-due_at", "bcdea"),
        ("ordering=-updated_at", "aecdb"),
        ("ordering=updated_at", "bdcea"),
        ("ordering=priority,-title", "aecbd"),
        ("ordering=-priority,title", "dbcea"),
        ("ordering=due_at,-created_at", "dcbea"),
        ("ordering=priority,due_at,title,created_at", "acebd"),
    ] {
        assert_eq!(app.viewer().titles(ordering).await.concat(), expected, "{ordering}");
    }
}

/// The id of the task with this title.
async fn first_id(person: &Person, title: &str) -> String {
    let list = person.get(&format!("{TASKS}?ordering=title")).await.json();
    let tasks = list["results"].as_array().unwrap();
    tasks.iter().find(|task| task["title"] == title).unwrap()["id"].as_str().unwrap().to_owned()
}

// PAG-08: pages of a list whose rows are all equal in the order still have each row once.
#[tokio::test]
async fn ties_are_broken_the_same_way_on_every_page() {
    let app = support::start().await;
    for number in 0..30 {
        app.owner().task(json!({"title": format!("{number}"), "description": "same"})).await;
    }
    for ordering in ["priority", "-priority", "due_at", "created_at", "-created_at", "updated_at"] {
        let whole = app.viewer().titles(&format!("page_size=100&ordering={ordering}")).await;
        let mut parts = Vec::new();
        for number in 1..=6 {
            parts
                .extend(app.viewer().titles(&format!("page_size=5&page={number}&ordering={ordering}")).await);
        }
        assert_eq!(parts, whole, "{ordering}");
        let backwards = match ordering.strip_prefix('-') {
            Some(bare) => bare.to_owned(),
            None => format!("-{ordering}"),
        };
        let mut turned = app.viewer().titles(&format!("page_size=100&ordering={backwards}")).await;
        turned.reverse();
        assert_eq!(turned, whole, "{ordering} turned round");
    }
}

#[tokio::test]
async fn an_order_that_is_not_declared_is_422_and_says_which_are() {
    let app = support::start().await;
    for (value, code) in [
        ("nonsense", "invalid-choice"),
        ("id", "invalid-choice"),
        ("description", "invalid-choice"),
        ("status", "invalid-choice"),
        ("assignee", "invalid-choice"),
        ("org_id", "invalid-choice"),
        ("--title", "invalid-choice"),
        ("Title", "invalid-choice"),
        ("", "invalid-choice"),
        ("title,", "invalid-choice"),
        ("title%20", "invalid-choice"),
        ("title;", "invalid-choice"),
        ("title,title", "repeated"),
        ("title,-title", "repeated"),
        ("title,priority,due_at,created_at,updated_at,-title", "repeated"),
    ] {
        let refused =
            page(&app.viewer(), &format!("ordering={value}")).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error("ordering", code)], "{value}");
        if code == "invalid-choice" {
            let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("title, priority, due_at, created_at, updated_at"), "{detail}");
        }
    }
    // Contract §3: every field that a list may be ordered by, all of them at once too.
    page(&app.viewer(), "ordering=title,-priority,due_at,created_at,updated_at").await.expect(200);
    // Nothing is declared for it there, so that it is a parameter like any other that is not known.
    let refused = app.viewer().get("/orgs/acme/members/?ordering=role").await;
    let refused = refused.expect_problem(422, "validation-failed");
    assert_eq!(refused.errors(), [error("ordering", "unknown-parameter")]);
    assert_eq!(refused.json()["errors"][0]["detail"], "not accepted here; accepted are page, page_size");
}

/// What is searched, and in which titles and descriptions it is found.
async fn searches_find(app: &TestApp) {
    let owner = app.owner();
    for (title, description) in [
        ("a", "Write the quarterly report"),
        ("b", "100% done_and\\dusted"),
        ("c", "STRASSE ÄÖÜ"),
        ("d", "100 percent done-and-dusted; Report"),
        ("e", "naïve 東京 🦀"),
        ("Report f", ""),
    ] {
        owner.task(json!({"title": title, "description": description})).await;
        app.clock().advance(Duration::from_secs(1));
    }
    for (search, expected) in [
        ("report", "adReport f"),
        ("REPORT", "adReport f"),
        ("report%20f", "Report f"),
        ("f%20report", "Report f"),
        ("quarterly+report", "a"),
        ("%20%09%0Areport%E3%80%80", "adReport f"),
        ("quarterly%20done", ""),
        // The metacharacters of LIKE and of its escape mean themselves.
        ("100%25", "b"),
        ("%25", "b"),
        ("done_and", "b"),
        ("_", "b"),
        ("%5C", "b"),
        ("%5C%5C", ""),
        ("*", ""),
        ("%27", ""),
        ("%22", ""),
        ("%3B", "d"),
        ("äöü", "c"),
        ("%C3%A4%C3%B6%C3%BC", "c"),
        ("ÄÖÜ", "c"),
        ("NA%C3%8FVE", "e"),
        ("%E6%9D%B1%E4%BA%AC", "e"),
        ("%F0%9F%A6%80", "e"),
        ("", "abcdeReport f"),
        ("%20", "abcdeReport f"),
    ] {
        let query = format!("search={search}&ordering=created_at");
        let query: String =
            query.chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect();
        let list = page(&app.viewer(), &query).await.expect(200);
        assert_eq!(titles(&list).concat(), expected, "{search}");
        assert_eq!(list.json()["count"], titles(&list).len(), "{search}");
    }
    // With a filter and in pages.
    let list = page(&app.viewer(), "search=report&status=todo&page_size=2&page=2").await.expect(200);
    assert_eq!((titles(&list).concat().as_str(), &list.json()["count"]), ("a", &json!(3)));
    assert_eq!(page(&app.viewer(), "search=report&status=done").await.expect(200).json()["count"], 0);
}

fn escaped(character: char) -> String {
    character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn every_term_of_a_search_must_occur_in_any_searched_field_without_regard_to_case() {
    searches_find(&support::start().await).await;
}

#[tokio::test]
async fn a_search_is_bounded() {
    let app = support::start().await;
    for (search, code) in [
        ("x".repeat(201), "too-long"),
        (["x"; 9].join("+"), "too-long"),
        ("a%00b".to_owned(), "invalid-character"),
    ] {
        let refused =
            page(&app.viewer(), &format!("search={search}")).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error("search", code)]);
    }
    page(&app.viewer(), &format!("search={}", "x".repeat(200))).await.expect(200);
    page(&app.viewer(), &format!("search={}", ["x"; 8].join("+"))).await.expect(200);
}

#[tokio::test]
async fn a_list_of_fifty_values_is_the_longest() {
    let app = support::start().await;
    let values = |count: usize| vec!["todo"; count].join(",");
    page(&app.viewer(), &format!("status__in={}", values(50))).await.expect(200);
    let refused = page(&app.viewer(), &format!("status__in={}", values(51)))
        .await
        .expect_problem(422, "validation-failed");
    assert_eq!(refused.errors(), [error("status__in", "too-long")]);
}

mod postgres {
    //! The same on PostgreSQL, where they depend on the database: its case folding, its order of text, its nulls.
    use bailiwick_testkit::databases::fresh_postgres;

    use super::*;

    #[tokio::test]
    async fn a_search_finds_the_same() {
        let Some(database) = fresh_postgres().await else { return };
        searches_find(&support::builder(&[]).postgres(database).start().await).await;
    }

    #[tokio::test]
    async fn order_and_pages_are_the_same() {
        let Some(database) = fresh_postgres().await else { return };
        let app = support::builder(&[]).postgres(database).start().await;
        for (title, priority, due_at) in [
            ("b", "high", Some("2026-03-01T00:00:00Z")),
            ("B", "low", None),
            ("_", "urgent", Some("2026-01-01T00:00:00Z")),
            ("é", "normal", Some("2026-02-01T00:00:00Z")),
            ("a b", "normal", None),
        ] {
            app.owner().task(json!({"title": title, "priority": priority, "due_at": due_at})).await;
            app.clock().advance(Duration::from_secs(1));
        }
        for (ordering, expected) in [
            ("ordering=title", "B_a bbé"),
            ("ordering=-title", "éba b_B"),
            ("ordering=priority", "Béa bb_"),
            ("ordering=due_at", "_ébBa b"),
            ("ordering=-due_at", "bé_a bB"),
        ] {
            assert_eq!(app.viewer().titles(ordering).await.concat(), expected, "{ordering}");
            assert_eq!(app.viewer().titles(&format!("{ordering}&page_size=2")).await.len(), 2);
        }
    }
}
