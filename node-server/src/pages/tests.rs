//! What a browser is told, header by header.

use http_body_util::BodyExt;

use super::*;

fn pages() -> Pages {
    let facts = NodeFacts {
        node: "node-<1>{{visits}}".into(),
        region: "eu-central".into(),
        browser: "156.0.1".into(),
    };
    Pages::new(&facts)
}

fn get(path: &str, cookie: &str) -> Request<()> {
    Request::get(path).header(header::COOKIE, cookie).body(()).unwrap()
}

async fn text(response: Response<Full<Bytes>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn the_start_page_counts_by_its_cookie() {
    for (cookie, visits) in [
        ("", 1),
        ("visits=1", 2),
        ("a=b; visits=41; c=d", 42),
        ("visits=999999", 1_000_000),
        ("visits=1000000", 1_000_000),
        ("visits=4294967295", 1_000_000),
        ("visits=4294967296", 1),
        ("visits=<script>", 1),
        ("xvisits=5", 1),
    ] {
        let response = pages().respond(&get("/", cookie));
        let set = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert!(set.starts_with(&format!("visits={visits}; Max-Age=31536000;")), "{cookie}: {set}");
        let html = text(response).await;
        assert!(html.contains(&format!("<strong id=\"visits\">{visits}</strong>")), "{cookie}");
    }
}

#[tokio::test]
async fn the_start_page_names_the_node_as_text() {
    let html = text(pages().respond(&get("/", ""))).await;
    assert!(html.contains("node-&lt;1&gt;&#123;&#123;visits}}"));
    assert!(html.contains("eu-central") && html.contains("156.0.1") && html.contains("id=\"stored\""));
    assert!(!html.contains("{{"), "every place is filled");
}

#[tokio::test]
async fn every_page_is_strict_and_unlike_the_next_time() {
    let pages = pages();
    for (response, status) in [
        (pages.respond(&get("/", "")), 200),
        (pages.respond(&get("/?utm=1", "")), 200),
        (pages.respond(&get("/colours", "")), 200),
        (pages.respond(&get("/echo", "")), 200),
        (pages.respond(&get("/favicon.ico", "")), 404),
        (pages.respond(&Request::post("/").body(()).unwrap()), 405),
        (pages.refuse(), 403),
    ] {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"));
        let html = text(response).await;
        assert!(!html.contains("://"), "nothing from elsewhere");
        for attribute in [" style=", " onclick=", " onload=", " oninput=", " onsubmit="] {
            assert!(!html.contains(attribute), "the policy would block {attribute}");
        }
    }
}
