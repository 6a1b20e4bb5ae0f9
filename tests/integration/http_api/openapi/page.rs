//! The description as a page.

use reqwest::Method;
use serde_json::{Value, json};
use streamkeeper_orchestrator::adapter::http::openapi_json;

use super::World;

#[actix::test]
async fn the_description_can_be_browsed() {
    let world = World::new();
    let described = world.get("/openapi.json").await;
    assert_eq!(described, serde_json::from_str::<Value>(openapi_json()).unwrap());
    // /docs leads to /docs/, whose links are relative.
    for path in [
        "/docs",
        "/docs/",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
    ] {
        let response = world.send(Method::GET, path, "").await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert!(response.text().await.unwrap().len() > 100, "{path}");
    }
    let start = world.send(Method::GET, "/docs/swagger-initializer.js", "").await;
    let text = start.text().await.unwrap();
    assert!(text.contains("/openapi.json"), "{text}");
    let (status, problem) = world.ask(Method::GET, "/docs/none.js", "").await;
    assert_eq!(status.as_u16(), 404);
    assert_eq!(problem["suggestion"], json!("the page itself is at /docs/"));
}
