"""What tests share: services, builders, checkers."""
