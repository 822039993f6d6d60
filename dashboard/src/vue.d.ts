/**
 * For ESLint, which reads TypeScript alone: a `.vue` file exports a component. The type check
 * (vue-tsc) reads the files themselves, and so knows each component's props and events.
 */
declare module '*.vue' {
  import type { DefineComponent } from 'vue'

  const component: DefineComponent
  export default component
}
