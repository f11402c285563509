"use strict";

// Requests from this page run with the session's cookies; the CSRF token is added as the PWA does it.
window.ui = SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  requestInterceptor: (request) => {
    const pair = document.cookie.split("; ").find((each) => each.startsWith("XSRF-TOKEN="));
    if (pair && request.method && !["GET", "HEAD", "OPTIONS"].includes(request.method.toUpperCase())) {
      request.headers["X-CSRF-Token"] = pair.slice("XSRF-TOKEN=".length);
    }
    return request;
  },
});
