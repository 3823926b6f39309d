use super::*;

#[test]
fn choices_are_written_as_they_are_read() {
    for choice in [Choice::Auto, Choice::Overlay, Choice::Chroot, Choice::None] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    assert!("proot".parse::<Choice>().is_err());
}
