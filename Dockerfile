# The bundled server as an image.
#
#   docker build -t etcdkit .
#   docker run -p 127.0.0.1:2379:2379 -v etcd:/etcd-data etcdkit
#
# It takes etcd's flags and environment. The word `etcd` starts it too, so that it can stand in for etcd's own image
# where a command names the program; etcdctl and etcdutl are not in it.

FROM node:22-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
# Not `npm ci`: it refuses a lock file that was written where a registry had no builds for other platforms.
RUN npm install --no-save --no-audit --no-fund --ignore-scripts
COPY . .
RUN npm run build && npm prune --omit=dev --no-save --no-audit --no-fund --ignore-scripts

FROM node:22-bookworm-slim
COPY --from=build /build/package.json /opt/etcdkit/package.json
COPY --from=build /build/node_modules /opt/etcdkit/node_modules
COPY --from=build /build/bin /opt/etcdkit/bin
COPY --from=build /build/proto /opt/etcdkit/proto
COPY --from=build /build/dist /opt/etcdkit/dist
RUN chmod +x /opt/etcdkit/dist/src/cli/main.js \
  && ln -s /opt/etcdkit/dist/src/cli/main.js /usr/local/bin/etcdkit \
  && ln -s /opt/etcdkit/bin/etcd /usr/local/bin/etcd \
  && install -d -o node -g node -m 700 /etcd-data
ENV NODE_ENV=production
ENV ETCD_DATA_DIR=/etcd-data
ENV ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
ENV ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379
USER node
VOLUME /etcd-data
EXPOSE 2379 2380
# A clean stop hands the leadership over; that takes a moment.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=5 CMD ["node", "-e", "fetch('http://localhost:2379/health').then((response) => process.exit(response.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["etcdkit", "server"]
