use super::*;

fn refused(text: &str) -> String {
    parse("longshore.yaml", text).expect_err(text).to_string()
}

#[test]
fn a_project_says_how_each_image_is_built() {
    let text = r#"
project: shop
images:
  - name: api
    dockerfile: docker/api.Dockerfile
    context: ./services//api/
    target: prod
    args: { VERSION: "1.2", RATIO: 1.20, HEX: 0x10, DEBUG: true, EMPTY: "" }
  - name: web
"#;
    let project = parse("longshore.yaml", text).unwrap();
    assert_eq!(project.project.as_ref().unwrap().as_str(), "shop");
    let api = project.image("api").unwrap();
    assert_eq!(api.dockerfile.as_str(), "docker/api.Dockerfile");
    assert_eq!(api.context.as_str(), "services/api");
    assert_eq!(api.target.as_deref(), Some("prod"));
    let args: Vec<_> = api.args.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        args,
        [("DEBUG", "true"), ("EMPTY", ""), ("HEX", "0x10"), ("RATIO", "1.20"), ("VERSION", "1.2")]
    );
    let web = project.image("web").unwrap();
    assert_eq!((web.dockerfile.as_str(), web.context.as_str()), ("Dockerfile", "."));
    assert_eq!((web.target.as_deref(), web.args.len()), (None, 0));
    assert_eq!(project.image("db"), None);
}

#[test]
fn the_name_and_the_optional_keys_may_be_left_out() {
    let text = "images:\n- name: a\n  target: ~\n  args: {}\n";
    let project = parse("longshore.yaml", text).unwrap();
    assert_eq!((project.project, project.images.len()), (None, 1));
}

#[test]
fn a_file_of_another_shape_is_refused_at_its_first_problem() {
    let mapping = "a mapping (KEY: VALUE) is expected here";
    let nothing = "a text is expected, not nothing\n  hint: write \"\" for an empty text";
    let no_content = "the file has no content\n  hint: the key \"images\" is needed";
    for (text, place, message) in [
        ("", "1:1", no_content),
        ("# nothing\n", "2:1", no_content),
        ("x", "1:1", mapping),
        ("- a", "1:1", mapping),
        ("project: a\n", "1:1", "the key \"images\" is missing"),
        ("images:", "1:7", "a list is expected here"),
        ("images: {}", "1:9", "a list is expected here"),
        ("images: [a]", "1:10", mapping),
        ("images:\n- {}\n", "2:3", "the key \"name\" is missing"),
        ("images:\n- name: [a]\n", "2:9", "a text is expected here"),
        ("images:\n- name:\n", "2:7", nothing),
        ("images:\n- name: a\n  args: {A: 1, B: }\n", "3:17", nothing),
        ("images:\n- name: a\n  args: [A]\n", "3:9", mapping),
        ("images:\n- name: a\n  args: {A: {b: c}}\n", "3:13", "a text is expected here"),
        ("images:\n- name: a\n  name: b\n", "3:3", "the key \"name\" is given twice"),
        ("images:\n- name: a\n  args: {A: 1, A: 2}\n", "3:16", "the key \"A\" is given twice"),
        (
            "images:\n- name: a\n---\nimages: []\n",
            "4:1",
            "a project file holds one YAML document, here a second starts",
        ),
        ("images: [", "1:9", "unclosed bracket '['"),
        (
            "images:\n\t- name: a\n",
            "2:2",
            "tabs disallowed within this context (block indentation)",
        ),
    ] {
        assert_eq!(refused(text), format!("longshore.yaml:{place}: {message}"), "{text:?}");
    }
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    for (text, place, key, hint) in [
        ("projct: a\n", "1:1", "projct", "did you mean \"project\"?"),
        ("version: 1\n", "1:1", "version", "known keys here: project, images"),
        (
            "images:\n- name: é\n  dockerfle: x\n",
            "3:3",
            "dockerfle",
            "did you mean \"dockerfile\"?",
        ),
        (
            "images:\n- name: a\n  platforms: [x]\n",
            "3:3",
            "platforms",
            "known keys here: name, dockerfile, context, target, args",
        ),
    ] {
        let expected = format!("longshore.yaml:{place}: unknown key {key:?}\n  hint: {hint}");
        assert_eq!(refused(text), expected, "{text:?}");
    }
}

#[test]
fn all_values_that_are_not_valid_are_reported() {
    let text = "\
project: Shop
images:
- name: A
  context: ../x
  dockerfile: /x
- name: b
- name: b
  target: ''
  args: {'': x, 'a=b': y}
";
    assert_eq!(
        refused(text),
        "\
longshore.yaml:1:10: \"Shop\" is not a project name (lowercase letters, digits and inner dashes, at most 63 characters)
longshore.yaml:3:9: \"A\" is not an image name (lowercase letters, digits, '.', '_' and '-', a letter or digit first)
longshore.yaml:4:12: the path \"../x\" leaves the directory of the project
longshore.yaml:5:15: the path \"/x\" is absolute
longshore.yaml:7:9: the image \"b\" is already defined in line 6
longshore.yaml:8:11: the target is empty
  hint: leave the key out to build the last stage
longshore.yaml:9:10: \"\" is not the name of a build argument
longshore.yaml:9:17: \"a=b\" is not the name of a build argument"
    );
}

#[test]
fn a_project_without_images_is_refused() {
    assert_eq!(
        refused("images: []\n"),
        "longshore.yaml:1:9: the project has no images\n  hint: give at least one image under \"images\""
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        text in "(images:|- name: |project: |args: |[a-z&*{}\\[\\]:'\"|>\n -]){0,30}",
    ) {
        let _ = parse("longshore.yaml", &text);
    }
}
