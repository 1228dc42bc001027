import package_nobody_has  # noqa: F401
