"""One module a resource; ``services.api.app`` lists their endpoints."""
